//! Mounts of a container as its configuration keeps them: shape and rules, and what the runtime is
//! told of them. Pure.

use std::path::PathBuf;

use osctl_api::mounts::{
    self as api, Create, DatasetName, HostPath, MountOptions, MountType, Mountpoint,
};
use osctl_runtime::spec;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::store::Document;

/// Most mounts of a container: they have to fit into one message to its supervisor.
const MAX_MOUNTS: usize = 64;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What is mounted.
    pub source: Source,
    /// Where in the container.
    pub mountpoint: Mountpoint,
    /// Options.
    #[serde(default)]
    pub opts: MountOptions,
    /// Mount it when the container starts.
    pub automount: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A directory or file of the host.
    Host(HostPath),
    /// A dataset of the container.
    Dataset(DatasetName),
    /// Memory.
    Tmpfs,
    /// Somebody else knows who has mounted it already.
    Unknown,
}

/// What is mounted, found on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Something of the host's, which must still be there when it is mounted.
    File(PathBuf, spec::FileId),
    /// The root directory of a dataset of the container.
    Dataset(PathBuf),
    /// Nothing has to be there.
    Tmpfs,
}

/// Whether something that is there already is mounted upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// At the start, when nothing is.
    Start,
    /// Later.
    Live,
}

/// What was registered for one run of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The mounts.
    pub mounts: Vec<Mount>,
}

impl Document for Registered {
    const KIND: &'static str = "registered mounts";
    const VERSION: u32 = 1;
}

impl Mount {
    /// A mount as it was asked for; `fs` is what a bind mount shows.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn new(
        fs: Option<&str>,
        kind: MountType,
        mountpoint: Mountpoint,
        opts: MountOptions,
        automount: bool,
    ) -> Result<Mount, Error> {
        let source = match (kind, fs) {
            (MountType::Tmpfs, _) => Source::Tmpfs,
            (MountType::Bind, None) => Source::Unknown,
            (MountType::Bind, Some(path)) => Source::Host(
                path.parse()
                    .map_err(|e| Error::invalid_with("this can't be mounted", e))?,
            ),
        };
        let mount = Mount {
            source,
            mountpoint,
            opts,
            automount,
        };
        mount.check()?;
        Ok(mount)
    }

    /// Whether options and source fit.
    fn check(&self) -> Result<(), Error> {
        let at = || format!("mount on {}", self.mountpoint);
        let fits = self.opts.check(self.kind());
        fits.map_err(|e| Error::invalid_with(at(), e))?;
        let own = matches!(self.source, Source::Dataset(_));
        if own && (self.opts.is_idmapped() || self.opts.is_recursive()) {
            return Err(Error::invalid(format!(
                "{}: a dataset of the container is always mapped, and mounted by itself",
                at()
            )));
        }
        Ok(())
    }

    /// What kind of file system.
    pub fn kind(&self) -> MountType {
        match self.source {
            Source::Tmpfs => MountType::Tmpfs,
            _ => MountType::Bind,
        }
    }

    /// As clients see it.
    pub fn info(&self, temporary: bool) -> api::Mount {
        let (fs, dataset) = match &self.source {
            Source::Host(path) => (Some(path.to_string()), None),
            Source::Dataset(name) => (None, Some(name.clone())),
            Source::Tmpfs | Source::Unknown => (None, None),
        };
        api::Mount {
            fs,
            dataset,
            mountpoint: self.mountpoint.clone(),
            kind: self.kind(),
            opts: self.opts.clone(),
            automount: self.automount,
            temporary,
        }
    }

    /// What the runtime is to do.
    pub fn spec(&self, found: Found, time: Time) -> spec::Mount {
        let own = matches!(found, Found::Dataset(_));
        let source = match found {
            Found::File(path, file) => spec::MountSource::Bind {
                path,
                recursive: self.opts.is_recursive(),
                idmap: self.opts.is_idmapped(),
                file: Some(file),
            },
            Found::Dataset(path) => spec::MountSource::Bind {
                path,
                recursive: false,
                idmap: true,
                file: None,
            },
            Found::Tmpfs => spec::MountSource::New {
                fstype: "tmpfs".to_owned(),
                source: Some("tmpfs".to_owned()),
                options: self.opts.of_filesystem(),
            },
        };
        spec::Mount {
            source,
            target: self.mountpoint.as_str().into(),
            create: match self.opts.create() {
                Create::No => spec::CreateTarget::No,
                Create::Dir => spec::CreateTarget::Dir,
                Create::File => spec::CreateTarget::File,
            },
            attributes: spec::MountAttributes {
                read_only: self.opts.is_read_only(),
                // A dataset is part of the container's system.
                nosuid: !own,
                nodev: true,
                noexec: self.opts.is_noexec(),
                noatime: self.opts.is_noatime(),
            },
            optional: time == Time::Start && self.opts.is_optional(),
            exclusive: time == Time::Live,
        }
    }
}

/// Checks all mounts of a container, by the same rules wherever they come from.
///
/// # Errors
/// `InvalidArgument`; `AlreadyExists` when two are at the same place.
pub fn check_all<'a>(mounts: impl Iterator<Item = &'a Mount>) -> Result<(), Error> {
    let mut places = std::collections::BTreeSet::new();
    for mount in mounts {
        mount.check()?;
        if !places.insert(&mount.mountpoint) {
            let taken = format!("there is a mount on {} already", mount.mountpoint);
            return Err(Error::exists(taken));
        }
    }
    if places.len() > MAX_MOUNTS {
        return Err(Error::invalid(format!(
            "{} mounts are too many: at most {MAX_MOUNTS}",
            places.len()
        )));
    }
    Ok(())
}

/// In the order in which they are mounted: what is below another one's mountpoint after that.
pub fn in_order(mut mounts: Vec<Mount>) -> Vec<Mount> {
    mounts.sort_by(|a, b| {
        let parts = |m: &Mount| {
            let path = m.mountpoint.as_str().to_owned();
            path.split('/').map(str::to_owned).collect::<Vec<_>>()
        };
        parts(a).cmp(&parts(b))
    });
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: spec::FileId = spec::FileId { dev: 1, ino: 2 };

    fn mount(fs: Option<&str>, kind: MountType, at: &str, opts: &str) -> Result<Mount, Error> {
        let (at, opts) = (at.parse().unwrap(), opts.parse().unwrap());
        Mount::new(fs, kind, at, opts, true)
    }

    fn bind(at: &str) -> Mount {
        mount(Some("/srv"), MountType::Bind, at, "bind,create=dir").unwrap()
    }

    #[test]
    fn of_the_host() {
        let opts = "rbind,ro,noexec,noatime,optional,idmap,create=file";
        let made = mount(Some("/srv/x"), MountType::Bind, "/mnt", opts).unwrap();
        let spec = made.spec(Found::File("/srv/x".into(), FILE), Time::Start);
        let source = spec::MountSource::Bind {
            path: "/srv/x".into(),
            recursive: true,
            idmap: true,
            file: Some(FILE),
        };
        assert_eq!(spec.source, source);
        assert_eq!(spec.create, spec::CreateTarget::File);
        let a = spec.attributes;
        assert!(a.read_only && a.nosuid && a.nodev && a.noexec && a.noatime);
        assert!(spec.optional && !spec.exclusive);
        let live = made.spec(Found::File("/srv/x".into(), FILE), Time::Live);
        assert!(!live.optional && live.exclusive);
        for bad in ["srv", "/srv/../etc", "/", ""] {
            assert!(
                mount(Some(bad), MountType::Bind, "/mnt", "").is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn plain_ones_are_safe_too() {
        let spec = bind("/mnt").spec(Found::File("/srv".into(), FILE), Time::Start);
        assert!(spec.attributes.nosuid && spec.attributes.nodev);
        assert!(!spec.attributes.read_only && !spec.optional);
        assert!(matches!(
            spec.source,
            spec::MountSource::Bind {
                idmap: false,
                recursive: false,
                ..
            }
        ));
    }

    #[test]
    fn in_memory() {
        let made = mount(None, MountType::Tmpfs, "/scratch", "size=1m,create=dir").unwrap();
        let spec = made.spec(Found::Tmpfs, Time::Start);
        assert!(spec.attributes.nosuid && spec.attributes.nodev);
        let spec::MountSource::New {
            fstype, options, ..
        } = spec.source
        else {
            panic!("not new");
        };
        assert_eq!(fstype, "tmpfs");
        assert_eq!(options, [("size".to_owned(), Some("1m".to_owned()))]);
        assert!(mount(None, MountType::Tmpfs, "/scratch", "idmap").is_err());
        assert!(mount(Some("/srv"), MountType::Bind, "/mnt", "size=1m").is_err());
    }

    #[test]
    fn of_the_container() {
        let own = |opts: &str| Mount {
            source: Source::Dataset("var".parse().unwrap()),
            mountpoint: "/var".parse().unwrap(),
            opts: opts.parse().unwrap(),
            automount: true,
        };
        let spec = own("bind,create=dir,rw").spec(Found::Dataset("/t".into()), Time::Start);
        assert!(!spec.attributes.nosuid && spec.attributes.nodev);
        assert!(matches!(
            spec.source,
            spec::MountSource::Bind { idmap: true, .. }
        ));
        assert!(check_all([own("ro")].iter()).is_ok());
        assert!(check_all([own("rbind")].iter()).is_err());
        assert!(check_all([own("idmap")].iter()).is_err());
    }

    #[test]
    fn places_are_taken_once_and_not_without_end() {
        let e = check_all([bind("/a"), bind("/b"), bind("/a")].iter()).unwrap_err();
        assert_eq!(e.code(), osctl_api::Code::AlreadyExists);
        let many = |n| (0..n).map(|n| bind(&format!("/m/{n}"))).collect::<Vec<_>>();
        assert!(check_all(many(MAX_MOUNTS).iter()).is_ok());
        assert!(check_all(many(MAX_MOUNTS + 1).iter()).is_err());
    }

    #[test]
    fn what_is_below_comes_after() {
        let sorted = in_order(
            ["/b/c/d", "/b", "/a-b", "/a/x", "/b/c", "/a"]
                .map(bind)
                .into(),
        );
        let places: Vec<&str> = sorted.iter().map(|m| m.mountpoint.as_str()).collect();
        assert_eq!(places, ["/a", "/a/x", "/a-b", "/b", "/b/c", "/b/c/d"]);
    }

    #[test]
    fn kept_and_read_again() {
        for mount in [bind("/a"), mount(None, MountType::Tmpfs, "/t", "").unwrap()] {
            let text = serde_json::to_string(&mount).unwrap();
            assert_eq!(serde_json::from_str::<Mount>(&text).unwrap(), mount);
        }
        let bad = r#"{"source":{"host":"/srv/../etc"},"mountpoint":"/a","automount":true}"#;
        assert!(serde_json::from_str::<Mount>(bad).is_err());
    }
}
