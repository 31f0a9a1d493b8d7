//! Copying a whole tree with everything that belongs to it: owners, modes, times, extended
//! attributes, access control lists, hard links, holes, links and device nodes.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

use nix::fcntl::OFlag;
use nix::unistd::{getegid, geteuid};
use osctl_linux::beneath::{Kind, Node, Root, Stat};

use super::data::Copier;
use super::meta::Owner;
use super::{Cursor, Error, Meta, Result, Watch};

/// What a copy came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Objects, the top directory not counted.
    pub objects: u64,
    /// Bytes of content of regular files, holes included.
    pub bytes: u64,
}

/// Of a directory: what is made in it gets its group.
const SETGID: u32 = 0o2000;

enum Step {
    Enter(Cursor, Cursor),
    /// A directory gets its metadata when everything is in it: its times would change, its
    /// default access list would be inherited, its mode might forbid it.
    Leave(Cursor, Meta),
}

struct Copy<'a> {
    steps: Vec<Step>,
    /// Where a file with several names was put first, and how many of its names are to come.
    links: HashMap<(u64, u64), (Cursor, OsString, u64)>,
    copier: Copier,
    /// Whom new objects of the present directory belong to; most need no change.
    owner: Owner,
    watch: Watch<'a>,
    done: Copied,
}

/// Copies what is in `from` to `to`, which is empty and gets the metadata of `from` too.
///
/// Neither tree is left, whatever changes in `from` meanwhile: symbolic links are copied, mounts
/// refused. Files are not brought to the disk: `syncfs(2)` is up to the caller.
pub fn copy_tree(from: &Root, to: &Root, watch: Watch<'_>) -> Result<Copied> {
    let failed = |e| Error::io("copy", "a tree", e);
    let mut copy = Copy {
        steps: Vec::new(),
        links: HashMap::new(),
        copier: Copier::new(),
        owner: None,
        watch,
        done: Copied::default(),
    };
    let first = Step::Enter(
        Cursor::top(from).map_err(failed)?,
        Cursor::top(to).map_err(failed)?,
    );
    copy.steps.push(first);
    while let Some(step) = copy.steps.pop() {
        match step {
            Step::Enter(from, to) => copy.enter(from, to)?,
            Step::Leave(to, meta) => leave(&to, &meta)
                .map_err(|e| Error::io("copy", format!("directory {:?}", to.relative()), e))?,
        }
    }
    Ok(copy.done)
}

fn leave(to: &Cursor, meta: &Meta) -> osctl_linux::error::Result<()> {
    meta.apply(&to.open()?.node(".")?, Kind::Dir)
}

impl Copy<'_> {
    fn enter(&mut self, from: Cursor, to: Cursor) -> Result<()> {
        let failed = |e| Error::io("copy", format!("directory {:?}", from.relative()), e);
        let (source, target) = (from.open().map_err(failed)?, to.open().map_err(failed)?);
        let top = source.node(".").map_err(failed)?;
        let stat = top.stat().map_err(failed)?;
        let meta = Meta::read(&top, &stat).map_err(failed)?;
        self.steps.push(Step::Leave(to.clone(), meta));
        let inherits = target.stat(".").map_err(failed)?.mode & SETGID != 0;
        self.owner = (!inherits).then(|| (geteuid().as_raw(), getegid().as_raw()));
        for entry in source.read_dir(".").map_err(failed)? {
            let name = entry.map_err(failed)?.name;
            if self.watch.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let shown = || format!("{:?}", from.relative().join(&name));
            match self.object(&source, &target, &from, &to, &name) {
                Ok(true) => self.done.objects += 1,
                Ok(false) => return Err(Error::Cancelled),
                Err(e) => return Err(Error::io("copy", shown(), e)),
            }
        }
        Ok(())
    }

    /// Copies one name. False when the job was cancelled.
    fn object(
        &mut self,
        source: &Root,
        target: &Root,
        from: &Cursor,
        to: &Cursor,
        name: &OsStr,
    ) -> std::result::Result<bool, super::Cause> {
        let stat = source.stat(name)?;
        match stat.kind() {
            Kind::Dir => {
                target.mkdir(name, 0o700)?;
                self.steps
                    .push(Step::Enter(from.child(name)?, to.child(name)?));
                return Ok(true);
            }
            _ if stat.nlink > 1 && self.link(&stat, target, name)? => return Ok(true),
            Kind::Symlink => {
                target.symlink(source.read_link(name)?, name)?;
                if self.owner != Some((stat.uid, stat.gid)) {
                    target.chown(name, stat.uid, stat.gid)?;
                }
                target.set_times(name, stat.atime, stat.mtime)?;
            }
            Kind::File => {
                if !self.file(source, target, name)? {
                    return Ok(false);
                }
            }
            kind => {
                let node = source.node(name)?;
                let meta = Meta::read(&node, &stat)?;
                target.mknod(name, kind, 0o600, stat.device())?;
                meta.apply_to(&target.node(name)?, kind, self.owner)?;
            }
        }
        if stat.nlink > 1 {
            let first = (to.clone(), name.to_owned(), stat.nlink - 1);
            self.links.insert((stat.dev, stat.ino), first);
        }
        Ok(true)
    }

    /// Gives a file that was copied already one more name. False when it was not.
    fn link(
        &mut self,
        stat: &Stat,
        target: &Root,
        name: &OsStr,
    ) -> osctl_linux::error::Result<bool> {
        let key = (stat.dev, stat.ino);
        let Some((cursor, first, left)) = self.links.get_mut(&key) else {
            return Ok(false);
        };
        let (base, path) = cursor.entry(first);
        base.hard_link_into(path, target, name)?;
        *left -= 1;
        if *left == 0 {
            self.links.remove(&key);
        }
        Ok(true)
    }

    /// Copies a regular file. False when the job was cancelled.
    fn file(
        &mut self,
        source: &Root,
        target: &Root,
        name: &OsStr,
    ) -> std::result::Result<bool, super::Cause> {
        // Whatever has the name by now: nothing but a regular file is opened.
        let input = source.open_regular(name, OFlag::O_RDONLY | OFlag::O_NOATIME)?;
        let input = Node::from(input);
        let stat = input.stat()?;
        let meta = Meta::read(&input, &stat)?;
        let output = target.create_new(name, 0o600)?;
        let (from, watch) = (input.into_file(), self.watch);
        if !self
            .copier
            .copy(&from, &output, stat.size, stat.blocks, watch)?
        {
            return Ok(false);
        }
        meta.apply_to(&Node::from(output), Kind::File, self.owner)?;
        self.done.bytes = self.done.bytes.saturating_add(stat.size);
        watch.progress(self.done.bytes, None);
        Ok(true)
    }
}
