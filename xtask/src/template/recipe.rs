//! The recipe of a template: `template.toml`, and the selection of one release
//! and variant out of it. Owns names, defaults and the digest that says
//! whether an image is still that of its recipe; builds nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::Compression;
use crate::error::{Error, FileContext as _, Result};

/// Changed when the builders make something else of the same recipe.
const BUILDER_VERSION: u32 = 1;

/// `template.toml`; the builder decides what else is in it.
#[derive(Debug, Deserialize)]
#[serde(tag = "builder", rename_all = "kebab-case")]
enum Recipe {
    Mmdebstrap(Debian),
    Busybox(Busybox),
}

/// Recipe of a distribution that is made of Debian packages.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Debian {
    distribution: String,
    default_variant: String,
    /// Keys that sign the archive, on the host and in the image.
    pub keyring: String,
    /// Components of the archive.
    pub components: Vec<String>,
    packages: Vec<String>,
    /// Paths that dpkg leaves out during the build.
    pub path_exclude: Vec<String>,
    /// Exceptions of `path_exclude`.
    pub path_include: Vec<String>,
    releases: BTreeMap<String, Release>,
    variants: BTreeMap<String, Variant>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    version: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variant {
    packages: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Busybox {
    distribution: String,
    version: String,
}

/// One image that a template can give.
#[derive(Debug)]
pub struct Selection {
    /// Directory of the template.
    pub directory: PathBuf,
    /// As the guest configuration knows it.
    pub distribution: String,
    /// Version as its distribution counts.
    pub version: String,
    /// Compression of the root file system.
    pub compression: Compression,
    /// What the image is called, without the extension.
    pub image_name: String,
    /// Who builds it.
    pub builder: Builder,
}

/// The builder of one image and what it has to know.
#[derive(Debug)]
pub enum Builder {
    /// Debian's packages, by mmdebstrap.
    Mmdebstrap(Box<DebianImage>),
    /// Busybox alone.
    Busybox,
}

/// One release and variant of a Debian recipe.
#[derive(Debug)]
pub struct DebianImage {
    /// The whole recipe.
    pub recipe: Debian,
    /// Name of the release in the archive.
    pub release: String,
    /// Name of the variant.
    pub variant: String,
}

impl DebianImage {
    /// Packages of every variant and of this one.
    pub fn packages(&self) -> impl Iterator<Item = &String> {
        let own = self.recipe.variants.get(&self.variant);
        self.recipe
            .packages
            .iter()
            .chain(own.into_iter().flat_map(|variant| &variant.packages))
    }
}

/// Finds the template `name`, which is `DIRECTORY[/RELEASE[/VARIANT]]`.
pub fn select(templates: &Path, name: &str, compression: Option<Compression>) -> Result<Selection> {
    let mut parts = name.split('/');
    let (template, release, variant) =
        (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let is_word = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric()) && !word.is_empty();
    if !is_word(template) || parts.next().is_some() {
        return Err(Error::Other(format!(
            "{name:?} is not the name of a template"
        )));
    }
    let directory = templates.join(template);
    let file = directory.join("template.toml");
    if !file.exists() {
        return Err(Error::Other(format!("there is no template {template:?}")));
    }
    let text = fs::read_to_string(&file).of("read", &file)?;
    let recipe = toml::from_str(&text).map_err(|source| Error::Format {
        path: file,
        source: Box::new(source),
    })?;
    match recipe {
        Recipe::Mmdebstrap(recipe) => select_debian(
            directory,
            recipe,
            [template, release.unwrap_or_default()],
            variant,
        )
        .map(|it| Selection {
            compression: compression.unwrap_or(it.compression),
            ..it
        }),
        Recipe::Busybox(_) if release.is_some() => Err(Error::Other(format!(
            "template {template:?} has no releases"
        ))),
        Recipe::Busybox(recipe) => Ok(Selection {
            directory,
            distribution: recipe.distribution,
            version: recipe.version,
            compression: compression.unwrap_or(Compression::Gzip),
            image_name: template.to_owned(),
            builder: Builder::Busybox,
        }),
    }
}

fn select_debian(
    directory: PathBuf,
    recipe: Debian,
    [template, release]: [&str; 2],
    variant: Option<&str>,
) -> Result<Selection> {
    let variant = variant.unwrap_or(&recipe.default_variant).to_owned();
    let unknown = |what: &str, name: &str, known: Vec<&String>| {
        let known = known
            .iter()
            .map(|it| it.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        Error::Other(format!(
            "template {template:?} has no {what} {name:?}; it has: {known}"
        ))
    };
    let Some(Release { version }) = recipe.releases.get(release) else {
        return Err(unknown(
            "release",
            release,
            recipe.releases.keys().collect(),
        ));
    };
    if !recipe.variants.contains_key(&variant) {
        return Err(unknown(
            "variant",
            &variant,
            recipe.variants.keys().collect(),
        ));
    }
    let arch = std::env::consts::ARCH;
    Ok(Selection {
        directory,
        distribution: recipe.distribution.clone(),
        version: version.clone(),
        compression: Compression::Zstd,
        image_name: format!("{}-{release}-{arch}-default-{variant}", recipe.distribution),
        builder: Builder::Mmdebstrap(Box::new(DebianImage {
            recipe,
            release: release.to_owned(),
            variant,
        })),
    })
}

impl Selection {
    /// File name of the image.
    pub fn image_file(&self) -> String {
        format!("{}.tar", self.image_name)
    }

    /// Digest of all that decides what is in the image.
    pub fn digest(&self) -> Result<String> {
        let mut digest = Sha256::new();
        let what = (
            BUILDER_VERSION,
            &self.image_name,
            self.compression,
            std::env::consts::ARCH,
        );
        digest.update(format!("{what:?}\0"));
        digest_directory(&mut digest, &self.directory)?;
        Ok(digest
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect())
    }
}

fn digest_directory(digest: &mut Sha256, directory: &Path) -> Result<()> {
    for path in sorted_entries(directory)? {
        let metadata = fs::symlink_metadata(&path).of("stat", &path)?;
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        digest.update([name, b"\0"].concat());
        if metadata.is_dir() {
            digest_directory(digest, &path)?;
        } else {
            let is_executable = metadata.permissions().mode() & 0o100 != 0;
            let content = fs::read(&path).of("read", &path)?;
            digest.update(format!("{is_executable} {}\0", content.len()));
            digest.update(content);
        }
        digest.update(b"/");
    }
    Ok(())
}

/// Entries of a directory by name.
pub fn sorted_entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).of("read", directory)?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .of("read", directory)?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(name: &str) -> Result<Selection> {
        select(&crate::workspace::root().join("templates"), name, None)
    }

    #[test]
    fn names_choose_release_and_variant() {
        let image = selected("debian/trixie").unwrap();
        let arch = std::env::consts::ARCH;
        assert_eq!(
            image.image_file(),
            format!("debian-trixie-{arch}-default-systemd.tar")
        );
        assert_eq!(
            (image.distribution.as_str(), image.version.as_str()),
            ("debian", "13")
        );
        let image = selected("debian/bookworm/runit").unwrap();
        assert_eq!(
            image.image_file(),
            format!("debian-bookworm-{arch}-default-runit.tar")
        );
        assert_eq!(selected("minimal").unwrap().image_file(), "minimal.tar");
    }

    #[test]
    fn every_variant_has_packages_and_a_hook() {
        for variant in [
            "systemd",
            "networkd",
            "networkmanager",
            "bare",
            "sysvinit",
            "openrc",
            "runit",
        ] {
            let image = selected(&format!("debian/trixie/{variant}")).unwrap();
            let hook = image.directory.join(format!("hooks/{variant}.sh"));
            assert!(hook.exists(), "{}", hook.display());
            let Builder::Mmdebstrap(debian) = image.builder else {
                panic!("{image:?}")
            };
            assert!(debian.packages().any(|package| package == "iproute2"));
        }
    }

    #[test]
    fn what_does_not_exist_is_refused_with_what_does() {
        let refusal = |name: &str| selected(name).unwrap_err().to_string();
        assert!(refusal("debian").contains("bookworm, trixie"));
        assert!(refusal("debian/sid").contains("bookworm, trixie"));
        assert!(
            refusal("debian/trixie/upstart")
                .contains("networkmanager, openrc, runit, systemd, sysvinit")
        );
        for name in [
            "",
            "../templates",
            "debian/trixie/systemd/x",
            "minimal/1",
            "nothing",
        ] {
            assert!(!refusal(name).is_empty());
        }
    }

    #[test]
    fn digest_follows_the_recipe() {
        let directory = tempfile::tempdir().unwrap();
        let template = directory.path().join("t");
        fs::create_dir(&template).unwrap();
        let toml = "builder = \"busybox\"\ndistribution = \"d\"\nversion = \"1\"\n";
        fs::write(template.join("template.toml"), toml).unwrap();
        let digest = |compression| {
            select(directory.path(), "t", compression)
                .unwrap()
                .digest()
                .unwrap()
        };
        let first = digest(None);
        assert_eq!(first, digest(None));
        assert_ne!(first, digest(Some(Compression::Zstd)));
        fs::create_dir(template.join("rootfs")).unwrap();
        fs::write(template.join("rootfs/a"), "").unwrap();
        assert_ne!(first, digest(None));
    }
}
