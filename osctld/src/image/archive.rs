//! Reading images: vpsAdminOS archives and tarballs of a root file system.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use osctl_linux::beneath::Root;

use super::extract::{Extractor, relative};
use super::member::{Kind, Member, Members};
use super::metadata::{ContainerYml, Metadata};
use super::source::{Counted, Paced, decompress, drain, read_error};
use super::{Error, Facts, Limits, Result, yaml};
use crate::storage::Watch;

/// Most hooks that an archive may have.
const MAX_HOOKS: usize = 256;

/// A script that came with an archive. It is only data: whether it is ever used is a decision of
/// whoever imports the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Name below the hook directory: `pre-start`, or `pre-start.d/10-name`.
    pub name: String,
    /// Permission bits.
    pub mode: u32,
    /// Content.
    pub content: Vec<u8>,
}

/// An image that was read.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// What runs in it.
    pub facts: Facts,
    /// `metadata.yml`, when there was an archive around the root file system.
    pub metadata: Option<Metadata>,
    /// `config/user.yml` as it was.
    pub user_yml: Option<Vec<u8>>,
    /// `config/group.yml` as it was.
    pub group_yml: Option<Vec<u8>>,
    /// `config/container.yml` as it was.
    pub container_yml: Option<Vec<u8>>,
    /// Scripts.
    pub hooks: Vec<Hook>,
    /// Files, directories, links and devices that were unpacked.
    pub entries: u64,
    /// Bytes of content that were unpacked.
    pub bytes: u64,
    /// What was left out of the root file system, the first hundred.
    pub warnings: Vec<String>,
}

/// Unpacks the image at `path` into `root`, an empty directory; see [`unpack`].
pub fn unpack_file(path: &Path, root: &Root, limits: &Limits, watch: Watch<'_>) -> Result<Image> {
    let failed = |source: std::io::Error| Error::Open {
        path: path.to_owned(),
        source: source.into(),
    };
    let file = open_regular(path)?;
    let total = file.metadata().map_err(failed)?.len();
    unpack(&file, Some(total), root, limits, watch)
}

/// Opens a regular file; a directory or device is an error, and nothing blocks.
pub(super) fn open_regular(path: &Path) -> Result<File> {
    let failed = |source: crate::storage::Cause| Error::Open {
        path: path.to_owned(),
        source,
    };
    use std::os::unix::fs::OpenOptionsExt;
    let file = File::options()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY)
        .open(path)
        .map_err(|e| failed(e.into()))?;
    if file.metadata().map_err(|e| failed(e.into()))?.is_file() {
        Ok(file)
    } else {
        Err(failed("it is no regular file".into()))
    }
}

/// Unpacks an image from a stream of `total` bytes into `root`, an empty directory: an archive of
/// vpsAdminOS or a tarball of a root file system, plain or compressed with gzip or zstd. When it
/// fails, what is in `root` is incomplete and to be removed. Nothing outside `root` is touched.
pub fn unpack(
    source: impl Read,
    total: Option<u64>,
    root: &Root,
    limits: &Limits,
    watch: Watch<'_>,
) -> Result<Image> {
    let opened = Opened::open(source, total, limits, watch)?;
    opened.refuse(false)?;
    opened.unpack(root)
}

/// Reads what an archive says of itself before its root file system.
pub fn read_head(source: impl Read, limits: &Limits) -> Result<Image> {
    let opened = Opened::open(source, None, limits, Watch::none())?;
    opened.refuse(true)?;
    Ok(opened.image)
}

/// An image that was read up to its root file system.
pub(super) struct Opened<'a> {
    pub(super) members: Members<Box<dyn Read + 'a>>,
    /// The first member of the root file system.
    pub(super) next: Option<Member>,
    pub(super) limits: Limits,
    pub(super) image: Image,
    pub(super) watch: Watch<'a>,
}

impl<'a> Opened<'a> {
    pub(super) fn open(
        source: impl Read + 'a,
        total: Option<u64>,
        limits: &Limits,
        watch: Watch<'a>,
    ) -> Result<Opened<'a>> {
        let source = Counted::new(source, total, watch);
        let mut members = Members::new(decompress(source, limits.max_bytes)?, limits);
        let Some(first) = members.next_member()? else {
            return Err(Error::Unsupported("the image is empty".into()));
        };
        let mut opened = Opened {
            members,
            next: None,
            limits: limits.clone(),
            image: Image::default(),
            watch,
        };
        if is_metadata(&first) {
            opened.image.metadata = Some(metadata(&first, &mut opened.members, limits)?);
            opened.next = opened.next_data()?;
        } else {
            opened.next = Some(first);
        }
        Ok(opened)
    }

    /// Refuses what is of no use: for an archive of a container, also what is none.
    pub(super) fn refuse(&self, container: bool) -> Result<()> {
        let problem = match &self.image.metadata {
            Some(metadata) => metadata.problem(container),
            None if container => Some(
                "this is no archive of a container: it does not begin with metadata.yml".into(),
            ),
            None => None,
        };
        problem.map_or(Ok(()), |problem| Err(Error::Unsupported(problem)))
    }

    fn unpack(mut self, root: &Root) -> Result<Image> {
        let next = self.next.take();
        if self.image.metadata.is_some() {
            self.unpack_data(next, root)?;
        } else {
            rootfs(next, &mut self.members, root, &self.limits, &mut self.image)?;
        }
        drain(&mut self.members.into_inner())?;
        let facts = std::mem::take(&mut self.image.facts);
        self.image.facts = facts.or(Facts::of_tree(root));
        Ok(self.image)
    }

    fn unpack_data(&mut self, mut next: Option<Member>, root: &Root) -> Result<()> {
        let mut unpacked = false;
        while let Some(member) = next {
            let path = relative(&member.path).map_err(|p| Error::member(&member.path, p))?;
            match names(&path).as_slice() {
                ["rootfs", "base.tar" | "base.tar.gz" | "base.tar.zst"]
                    if member.kind == Kind::File =>
                {
                    if unpacked {
                        let problem = "is the second root file system";
                        return Err(Error::member(&member.path, problem));
                    }
                    unpacked = true;
                    base(
                        &mut self.members,
                        root,
                        (&self.limits, self.watch),
                        &mut self.image,
                    )?;
                }
                other => return Err(odd_rootfs(&member, &other[1..], member.kind)),
            }
            next = self.next_data()?;
        }
        if !unpacked {
            return Err(Error::Unsupported(
                "the image has no root file system".into(),
            ));
        }
        Ok(())
    }

    /// Reads members of an archive up to the next one of its root file system.
    pub(super) fn next_data(&mut self) -> Result<Option<Member>> {
        while let Some(member) = self.members.next_member()? {
            let path = relative(&member.path).map_err(|p| Error::member(&member.path, p))?;
            let (members, image) = (&mut self.members, &mut self.image);
            match (names(&path).as_slice(), member.kind) {
                ([] | ["config" | "hooks" | "rootfs"] | ["hooks", _], Kind::Dir) => {}
                (["config", name], Kind::File) => {
                    config(name, &member, members, &self.limits, image)?;
                }
                (["hooks", rest @ ..], Kind::File) if matches!(rest.len(), 1 | 2) => {
                    hook(rest, &member, members, &self.limits, image)?;
                }
                (["rootfs", ..], _) => return Ok(Some(member)),
                (["config" | "hooks", ..], _) => {
                    return Err(Error::member(&member.path, "is not what belongs there"));
                }
                (_, Kind::File | Kind::Dir) => {}
                _ => return Err(Error::member(&member.path, "is no file or directory")),
            }
        }
        Ok(None)
    }
}

/// The components of a path, for comparing them.
pub(super) fn names(path: &Path) -> Vec<&str> {
    path.iter()
        .map(|c| c.to_str().unwrap_or("\u{fffd}"))
        .collect()
}

/// Looks at how an image begins: refuses what can be no image before all of it is read.
pub(super) fn check_start(source: impl Read, limits: &Limits) -> Result<()> {
    let mut members = Members::new(decompress(source, limits.max_bytes)?, limits);
    match members.next_member()? {
        None => Err(Error::Unsupported("the image is empty".into())),
        Some(first) if is_metadata(&first) => {
            let metadata = metadata(&first, &mut members, limits)?;
            match metadata.problem(false) {
                Some(problem) => Err(Error::Unsupported(problem)),
                None => Ok(()),
            }
        }
        Some(_) => Ok(()),
    }
}

fn is_metadata(first: &Member) -> bool {
    relative(&first.path).is_ok_and(|path| path == Path::new("metadata.yml"))
}

fn metadata<R: Read>(
    first: &Member,
    members: &mut Members<R>,
    limits: &Limits,
) -> Result<Metadata> {
    let text = read_file(first, members, limits.max_metadata)?;
    yaml::parse(&text).map_err(|e| Error::metadata("metadata.yml", e))
}

/// Unpacks a root file system up to the end of its archive.
fn rootfs<R: Read>(
    first: Option<Member>,
    members: &mut Members<R>,
    root: &Root,
    limits: &Limits,
    image: &mut Image,
) -> Result<()> {
    let mut extractor = Extractor::new(root, limits.max_entries)?;
    let mut next = match first {
        Some(member) => Some(member),
        None => members.next_member()?,
    };
    while let Some(member) = next {
        extractor.put(&member, members)?;
        next = members.next_member()?;
    }
    if extractor.entries == 0 {
        return Err(Error::Unsupported(
            "the image's root file system is empty".into(),
        ));
    }
    extractor.default_top();
    extractor.finish()?;
    image.entries = extractor.entries;
    image.bytes = extractor.bytes();
    image.warnings = extractor.warnings;
    Ok(())
}

fn odd_rootfs(member: &Member, rest: &[&str], kind: Kind) -> Error {
    if rest.is_empty() {
        return Error::member(&member.path, "is no directory");
    }
    let streamed = rest.last().is_some_and(|name| name.contains(".dat"));
    match kind {
        Kind::File if streamed => Error::Unsupported(
            "the image holds a ZFS stream, which can't be used here: take one of format tar".into(),
        ),
        _ => Error::member(&member.path, "is not what belongs there"),
    }
}

/// Reads a metadata file.
fn read_file<R: Read>(member: &Member, members: &mut Members<R>, max: u64) -> Result<Vec<u8>> {
    if member.kind != Kind::File || member.sparse.is_some() {
        return Err(Error::member(&member.path, "is no regular file"));
    }
    let mut bytes = Vec::new();
    members
        .take(max + 1)
        .read_to_end(&mut bytes)
        .map_err(read_error)?;
    if bytes.len() as u64 > max {
        return Err(Error::member(
            &member.path,
            format!("is larger than {max} bytes"),
        ));
    }
    Ok(bytes)
}

fn config<R: Read>(
    name: &str,
    member: &Member,
    members: &mut Members<R>,
    limits: &Limits,
    image: &mut Image,
) -> Result<()> {
    let slot = match name {
        "container.yml" => &mut image.container_yml,
        "user.yml" => &mut image.user_yml,
        "group.yml" => &mut image.group_yml,
        _ => return Ok(()),
    };
    if slot.is_some() {
        return Err(Error::member(&member.path, "is there twice"));
    }
    let text = read_file(member, members, limits.max_metadata)?;
    if name == "container.yml" {
        let config: ContainerYml =
            yaml::parse(&text).map_err(|e| Error::metadata("config/container.yml", e))?;
        image.facts = Facts::of_config(&config);
    }
    *slot = Some(text);
    Ok(())
}

fn hook<R: Read>(
    names: &[&str],
    member: &Member,
    members: &mut Members<R>,
    limits: &Limits,
    image: &mut Image,
) -> Result<()> {
    let plain = |name: &&str| {
        !name.starts_with(['.', '-'])
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    let nested = names.len() == 1 || names[0].ends_with(".d");
    if !names.iter().all(plain) || !nested {
        return Err(Error::member(&member.path, "is no name of a hook"));
    }
    let name = names.join("/");
    if image.hooks.len() >= MAX_HOOKS || image.hooks.iter().any(|h| h.name == name) {
        return Err(Error::member(&member.path, "is a hook too many"));
    }
    let used: u64 = image.hooks.iter().map(|h| h.content.len() as u64).sum();
    let left = limits.max_metadata.saturating_sub(used);
    image.hooks.push(Hook {
        name,
        mode: member.meta.mode,
        content: read_file(member, members, left)?,
    });
    Ok(())
}

/// Unpacks the root file system that is a member of an archive.
fn base<R: Read>(
    outer: &mut Members<R>,
    root: &Root,
    (limits, watch): (&Limits, Watch<'_>),
    image: &mut Image,
) -> Result<()> {
    let input = Paced::new(decompress(outer, limits.max_bytes)?, watch);
    let mut members = Members::new(input, limits);
    rootfs(None, &mut members, root, limits, image)?;
    drain(&mut members.into_inner())
}
