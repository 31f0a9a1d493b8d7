//! Writes the members of a root file system into a tree that can't be left.
//!
//! No member is followed through a link, whether that link came with the image or was put there
//! meanwhile. What a later member of the same name replaces is removed first, never opened.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use osctl_linux::beneath::{self, Mounts, Node, Root, Symlinks, Time};

use super::content::Content;
use super::member::{Kind, MAX_PATH, Member};
use super::{Error, Result};
use crate::storage::Meta;

/// Names and metadata of directories are kept until the end, in this many bytes; those of a
/// million directories fit.
const MAX_DEFERRED: usize = 256 << 20;
/// Warnings that are kept.
const MAX_WARNINGS: usize = 100;

type Linux<T> = osctl_linux::error::Result<T>;

/// Puts members below a root directory, one after the other.
pub(super) struct Extractor {
    root: Root,
    /// The directory of the last member: the next one is likely to be there too.
    parent: Option<(PathBuf, Root)>,
    /// Directories get their metadata when everything is in them: times would change, default
    /// access lists be inherited, modes forbid.
    dirs: BTreeMap<PathBuf, Meta>,
    deferred: usize,
    content: Content,
    /// Objects that were written.
    pub(super) entries: u64,
    max_entries: u64,
    pub(super) warnings: Vec<String>,
}

/// The relative path that a name in an archive stands for; empty for the top directory.
pub(super) fn relative(name: &[u8]) -> std::result::Result<PathBuf, &'static str> {
    if name.is_empty() {
        return Err("has no name");
    }
    if name.starts_with(b"/") {
        return Err("has an absolute name");
    }
    if name.len() > MAX_PATH {
        return Err("has a name that is too long");
    }
    let mut path = PathBuf::new();
    for component in name.split(|b| *b == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err("has a name that leads out of the image"),
            _ if component.len() > 255 => return Err("has a name that is too long"),
            _ if component.contains(&0) => return Err("has a name with a NUL byte"),
            _ => path.push(OsStr::from_bytes(component)),
        }
    }
    Ok(path)
}

impl Extractor {
    /// Unpacks below `root`, which is empty.
    pub(super) fn new(root: &Root, max_entries: u64) -> Result<Extractor> {
        let root = root
            .with(Symlinks::Refuse, Mounts::Refuse)
            .map_err(|e| Error::write(".", e))?;
        Ok(Extractor {
            root,
            parent: None,
            dirs: BTreeMap::new(),
            deferred: 0,
            content: Content::new(),
            entries: 0,
            max_entries,
            warnings: Vec::new(),
        })
    }

    /// Writes one member, whose data come from `data`.
    pub(super) fn put(&mut self, member: &Member, data: &mut dyn Read) -> Result<()> {
        for warning in &member.warnings {
            if self.warnings.len() < MAX_WARNINGS {
                self.warnings.push(warning.clone());
            }
        }
        let path = relative(&member.path).map_err(|p| Error::member(&member.path, p))?;
        self.count()?;
        let Some(name) = path.file_name() else {
            if member.kind != Kind::Dir {
                return Err(Error::member(&member.path, "is the top and no directory"));
            }
            return self.defer(PathBuf::new(), member.meta.clone());
        };
        let above = path.parent().unwrap_or(Path::new(""));
        let parent = match self.parent.take() {
            Some((at, parent)) if at == above => parent,
            _ => self.enter(above, member)?,
        };
        let done = self.put_in(&parent, name, &path, member, data);
        // A replaced directory may be this one.
        self.parent = match &done {
            Ok(Replaced::No) => Some((above.to_owned(), parent)),
            _ => None,
        };
        done.map(drop)
    }

    /// Counts an object; directories that only names of members make count as well.
    fn count(&mut self) -> Result<()> {
        self.entries += 1;
        if self.entries > self.max_entries {
            let max = self.max_entries;
            return Err(Error::Limit(format!("more than {max} members, the limit")));
        }
        Ok(())
    }

    /// Opens the directory `path`, making what is missing.
    fn enter(&mut self, path: &Path, member: &Member) -> Result<Root> {
        let failed = |e: osctl_linux::error::Error| match e.errno() {
            Errno::ELOOP => Error::member(&member.path, "leads through a symbolic link"),
            Errno::ENOTDIR => {
                Error::member(&member.path, "leads through something that is no directory")
            }
            _ => Error::write(path, e),
        };
        let here = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        match self.root.dir(here) {
            Ok(dir) => return Ok(dir),
            Err(e) if e.errno() == Errno::ENOENT => {}
            Err(e) => return Err(failed(e)),
        }
        let mut dir = self.root.dir(".").map_err(failed)?;
        for component in path.components() {
            let name = component.as_os_str();
            match dir.mkdir(name, 0o755) {
                Ok(()) => {
                    dir.chmod(name, 0o755).map_err(failed)?;
                    self.count()?;
                }
                Err(e) if e.errno() == Errno::EEXIST => {}
                Err(e) => return Err(failed(e)),
            }
            dir = dir.dir(name).map_err(failed)?;
        }
        Ok(dir)
    }

    fn put_in(
        &mut self,
        parent: &Root,
        name: &OsStr,
        path: &Path,
        member: &Member,
        data: &mut dyn Read,
    ) -> Result<Replaced> {
        let failed = |e: osctl_linux::error::Error| Error::write(path, e);
        let meta = &member.meta;
        let (object, replaced) = match member.kind {
            Kind::Dir => {
                let replaced = self.dir(parent, name, path, member)?;
                self.defer(path.to_owned(), meta.clone())?;
                return Ok(replaced);
            }
            Kind::HardLink => return self.hard_link(parent, name, path, member),
            Kind::File => {
                let (file, replaced) = self.make(parent, name, path, member, || {
                    parent.create_new(name, 0o600)
                })?;
                let file = self
                    .content
                    .write(file, path, member.sparse.as_ref(), data)?;
                meta.apply(&Node::from(file), beneath::Kind::File)
                    .map_err(failed)?;
                return Ok(replaced);
            }
            Kind::Symlink => {
                if member.link.is_empty() {
                    return Err(Error::member(&member.path, "is a symbolic link to nothing"));
                }
                let target = OsStr::from_bytes(&member.link);
                let made = || parent.symlink(target, name);
                (
                    beneath::Kind::Symlink,
                    self.make(parent, name, path, member, made)?.1,
                )
            }
            Kind::Char | Kind::Block | Kind::Fifo => {
                let kind = match member.kind {
                    Kind::Char => beneath::Kind::Char,
                    Kind::Block => beneath::Kind::Block,
                    _ => beneath::Kind::Fifo,
                };
                let made = || parent.mknod(name, kind, 0o600, member.device);
                (kind, self.make(parent, name, path, member, made)?.1)
            }
        };
        let node = parent.node(name).map_err(failed)?;
        meta.apply(&node, object).map_err(failed)?;
        Ok(replaced)
    }

    /// Makes an object; what has its name already is removed.
    fn make<T>(
        &mut self,
        parent: &Root,
        name: &OsStr,
        path: &Path,
        member: &Member,
        make: impl Fn() -> Linux<T>,
    ) -> Result<(T, Replaced)> {
        match make() {
            Ok(made) => return Ok((made, Replaced::No)),
            Err(e) if e.errno() == Errno::EEXIST => {}
            Err(e) => return Err(Error::write(path, e)),
        }
        let replaced = self.clear(parent, name, path, member)?;
        match make() {
            Ok(made) => Ok((made, replaced)),
            Err(e) => Err(Error::write(path, e)),
        }
    }

    /// Removes what has the name of a member.
    fn clear(
        &mut self,
        parent: &Root,
        name: &OsStr,
        path: &Path,
        member: &Member,
    ) -> Result<Replaced> {
        let failed = |e: osctl_linux::error::Error| match e.errno() {
            Errno::ENOTEMPTY | Errno::EEXIST => {
                Error::member(&member.path, "replaces a directory that is not empty")
            }
            _ => Error::write(path, e),
        };
        if parent.stat(name).map_err(failed)?.kind() == beneath::Kind::Dir {
            parent.rmdir(name).map_err(failed)?;
            self.dirs.remove(path);
        } else {
            parent.unlink(name).map_err(failed)?;
        }
        Ok(Replaced::Yes)
    }

    fn dir(
        &mut self,
        parent: &Root,
        name: &OsStr,
        path: &Path,
        member: &Member,
    ) -> Result<Replaced> {
        match parent.mkdir(name, 0o700) {
            Ok(()) => return Ok(Replaced::No),
            Err(e) if e.errno() == Errno::EEXIST => {}
            Err(e) => return Err(Error::write(path, e)),
        }
        let stat = parent.stat(name).map_err(|e| Error::write(path, e))?;
        if stat.kind() == beneath::Kind::Dir {
            return Ok(Replaced::No);
        }
        self.clear(parent, name, path, member)?;
        parent
            .mkdir(name, 0o700)
            .map_err(|e| Error::write(path, e))?;
        Ok(Replaced::Yes)
    }

    fn hard_link(
        &mut self,
        parent: &Root,
        name: &OsStr,
        path: &Path,
        member: &Member,
    ) -> Result<Replaced> {
        let bad = |problem: String| Error::member(&member.path, problem);
        let target = relative(&member.link).map_err(|problem| {
            bad(format!(
                "is a hard link to {:?}, which {problem}",
                super::shown(&member.link)
            ))
        })?;
        let failed = |e: osctl_linux::error::Error| {
            let what = match e.errno() {
                Errno::ENOENT => "which does not exist",
                Errno::ELOOP => "which leads through a symbolic link",
                Errno::ENOTDIR => "which leads through something that is no directory",
                Errno::EPERM | Errno::EISDIR => "which is a directory",
                _ => return Error::write(path, e),
            };
            bad(format!(
                "is a hard link to {:?}, {what}",
                super::shown(&member.link)
            ))
        };
        let top = target.as_os_str().is_empty();
        let wanted = self
            .root
            .stat(if top { Path::new(".") } else { &target })
            .map_err(failed)?;
        if wanted.kind() == beneath::Kind::Dir {
            return Err(bad(format!(
                "is a hard link to {:?}, which is a directory",
                super::shown(&member.link)
            )));
        }
        if let Ok(Some(there)) = parent.try_stat(name)
            && (there.dev, there.ino) == (wanted.dev, wanted.ino)
        {
            // Clearing the name might remove the last one of the file.
            return Ok(Replaced::No);
        }
        let link = || self.root.hard_link_into(&target, parent, name);
        match link() {
            Ok(()) => return Ok(Replaced::No),
            Err(e) if e.errno() == Errno::EEXIST => {}
            Err(e) => return Err(failed(e)),
        }
        let replaced = self.clear(parent, name, path, member)?;
        self.root
            .hard_link_into(&target, parent, name)
            .map_err(failed)?;
        Ok(replaced)
    }

    fn defer(&mut self, path: PathBuf, meta: Meta) -> Result<()> {
        let xattrs = meta.xattrs.iter().map(|(n, v)| n.len() + v.len());
        self.deferred += xattrs.sum::<usize>() + path.as_os_str().len() + size_of::<Meta>();
        if self.deferred > MAX_DEFERRED {
            return Err(Error::Limit(
                "more directories than can be kept in memory".into(),
            ));
        }
        self.dirs.insert(path, meta);
        Ok(())
    }

    /// Bytes of content, holes not counted.
    pub(super) fn bytes(&self) -> u64 {
        self.content.bytes
    }

    /// Gives the directories their metadata. To be called when all members are there.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.parent = None;
        // Deepest first: a parent's mode may forbid to enter it to other users than root.
        for (path, meta) in std::mem::take(&mut self.dirs).into_iter().rev() {
            let here = if path.as_os_str().is_empty() {
                Path::new(".")
            } else {
                &path
            };
            let failed = |e| Error::write(&path, e);
            let node = self.root.node(here).map_err(failed)?;
            if node.stat().map_err(failed)?.kind() == beneath::Kind::Dir {
                meta.apply(&node, beneath::Kind::Dir).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Gives the top directory usual metadata, for images that say nothing of it.
    pub(super) fn default_top(&mut self) {
        let epoch = Time { sec: 0, nsec: 0 };
        self.dirs.entry(PathBuf::new()).or_insert(Meta {
            uid: 0,
            gid: 0,
            mode: 0o755,
            atime: epoch,
            mtime: epoch,
            xattrs: Vec::new(),
        });
    }
}

/// Whether something was removed to make room.
enum Replaced {
    Yes,
    No,
}
