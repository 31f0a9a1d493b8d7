//! Hooks of containers: programs below the pool's hook directory, `hook/ct/ID/NAME` and
//! `hook/ct/ID/NAME.d/FILE`, as archives carry them.
//!
//! It owns reading and putting them there, and that they follow their container.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use osctl_api::names::Name;
use osctl_linux::beneath::{Kind, Mounts, Root, Symlinks};

use crate::error::{Error, Result};
use crate::image::Hook;
use crate::pool::Pool;
use crate::storage::Cause;

/// Names of hooks of containers.
pub const NAMES: [&str; 10] = [
    "pre-start",
    "veth-up",
    "pre-mount",
    "post-mount",
    "on-start",
    "post-start",
    "pre-stop",
    "on-stop",
    "veth-down",
    "post-stop",
];
/// Most bytes of all hooks of a container together, and their number, as in archives.
const MAX_BYTES: u64 = 256 << 10;
const MAX_HOOKS: usize = 256;
/// Below the pool.
const HOOKS: &str = "hook/ct";
/// Begins the name of the directory of a container that is being made.
const STAGING: &str = ".new-";

/// Whether a file of this name below the directory of hooks is one.
pub fn is_hook(name: &str) -> bool {
    let (name, file) = match name.split_once('/') {
        Some((dir, file)) => (dir.strip_suffix(".d").unwrap_or(""), Some(file)),
        None => (name, None),
    };
    let good = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let plain = |f: &str| {
        !f.is_empty() && f.len() <= 200 && !f.starts_with(['.', '-']) && f.bytes().all(good)
    };
    NAMES.contains(&name) && file.is_none_or(plain)
}

impl Pool {
    fn hooks_of(&self, id: &Name) -> PathBuf {
        self.path.join(HOOKS).join(id)
    }

    fn new_hooks_of(&self, id: &Name) -> PathBuf {
        self.path.join(HOOKS).join(format!("{STAGING}{id}"))
    }

    /// The hooks of a container, by name. Blocks.
    ///
    /// # Errors
    /// `Backend`; `Unsupported` when there are more than an archive holds.
    pub(super) fn read_hooks(&self, id: &Name) -> Result<Vec<Hook>> {
        let path = self.hooks_of(id);
        let cannot = || format!("cannot read the hooks in {}", path.display());
        let root = match Root::open_tree(&path, Symlinks::Refuse, Mounts::Refuse) {
            Err(e) if e.errno() == Errno::ENOENT => return Ok(Vec::new()),
            root => root.map_err(|e| Error::backend(cannot(), e))?,
        };
        let mut hooks = Vec::new();
        read_dir(&root, "", &mut hooks).map_err(|e| Error::backend(cannot(), e))?;
        let bytes: u64 = hooks.iter().map(|h| h.content.len() as u64).sum();
        if hooks.len() > MAX_HOOKS || bytes > MAX_BYTES {
            return Err(Error::unsupported(format!(
                "{}: more than {MAX_HOOKS} hooks, or {MAX_BYTES} bytes of them",
                path.display()
            ))
            .hint("leave them out with --no-hooks"));
        }
        hooks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(hooks)
    }

    /// Checks that there are none for a container of this id yet. Blocks.
    ///
    /// # Errors
    /// `AlreadyExists`.
    pub(super) fn check_no_hooks(&self, id: &Name) -> Result<()> {
        let path = self.hooks_of(id);
        match path.symlink_metadata() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(Error::exists(format!("{} exists already", path.display()))
                .hint("leave the hooks of the archive out")),
        }
    }

    /// Writes the hooks of a container that is being made, beside their place. Blocks.
    ///
    /// # Errors
    /// `Backend`.
    pub(super) fn write_new_hooks(&self, id: &Name, hooks: &[Hook]) -> Result<()> {
        if hooks.is_empty() {
            return Ok(());
        }
        let new = format!("{HOOKS}/{STAGING}{id}");
        let written = Root::open_tree(&self.path, Symlinks::Refuse, Mounts::Cross)
            .and_then(|pool| {
                pool.mkdir_all(HOOKS, 0o700)?;
                pool.mkdir(&new, 0o700)?;
                pool.dir(&new)
            })
            .map_err(|e| Error::backend("cannot make the directory of its hooks", e))?;
        for hook in hooks {
            write_hook(&written, hook)
                .map_err(|e| Error::backend(format!("cannot write hook {}", hook.name), e))?;
        }
        Ok(())
    }

    /// Puts the hooks of a container that was made into their place. Blocks.
    pub(super) fn accept_hooks(&self, id: &Name) {
        self.move_hooks(&format!("{STAGING}{id}"), id.as_str());
    }

    /// There may be none.
    fn move_hooks(&self, from: &str, to: &str) {
        let hooks = self.path.join(HOOKS);
        let moved = Root::open_tree(&hooks, Symlinks::Refuse, Mounts::Refuse)
            .and_then(|hooks| hooks.rename_new(from, to));
        match moved {
            Err(e) if e.errno() != Errno::ENOENT => {
                tracing::warn!(%from, %to, error = %e, "cannot rename the hooks of a container");
            }
            _ => {}
        }
    }

    /// Removes the hooks of a container that was not made. Blocks.
    pub(super) fn remove_new_hooks(&self, id: &Name) {
        let path = self.new_hooks_of(id);
        if let Err(e) = remove(&path) {
            tracing::warn!(%id, error = %e, "cannot remove {}", path.display());
        }
    }

    /// Accepts or removes the hooks of containers that were being made when the daemon died. Blocks.
    pub(super) fn recover_hooks(&self, known: impl Fn(&Name) -> bool) {
        let Ok(entries) = std::fs::read_dir(self.path.join(HOOKS)) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let id = name
                .to_str()
                .and_then(|n| n.strip_prefix(STAGING)?.parse().ok());
            match id {
                Some(id) if known(&id) => self.accept_hooks(&id),
                Some(id) => self.remove_new_hooks(&id),
                None => {}
            }
        }
    }

    /// The hooks of a container go with it. Blocks.
    pub(super) fn remove_hooks(&self, id: &Name) {
        let path = self.hooks_of(id);
        if let Err(e) = remove(&path) {
            tracing::warn!(%id, error = %e, "cannot remove {}", path.display());
        }
    }

    /// The hooks of a container follow it to its new id. Blocks.
    pub(super) fn rename_hooks(&self, old: &Name, new: &Name) {
        self.move_hooks(old.as_str(), new.as_str());
    }
}

/// Writes a hook: neither setuid nor writable by others, whatever its archive says.
fn write_hook(dir: &Root, hook: &Hook) -> std::result::Result<(), Cause> {
    if let Some((name, _)) = hook.name.split_once('/') {
        dir.mkdir_all(name, 0o700)?;
    }
    let mut file = dir.create_new(&hook.name, 0o600)?;
    file.write_all(&hook.content)?;
    file.set_permissions(Permissions::from_mode(hook.mode & 0o755))?;
    file.sync_all()?;
    Ok(())
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Reads what is in a directory of hooks; anything else than programs there is left out.
fn read_dir(dir: &Root, prefix: &str, hooks: &mut Vec<Hook>) -> osctl_linux::error::Result<()> {
    for entry in dir.read_dir(".")? {
        let entry = entry?;
        let Some(name) = entry.name.to_str() else {
            continue;
        };
        let stat = dir.stat(name)?;
        let full = format!("{prefix}{name}");
        match stat.kind() {
            Kind::Dir if prefix.is_empty() => {
                read_dir(&dir.dir(name)?, &format!("{name}/"), hooks)?;
            }
            Kind::File if is_hook(&full) && hooks.len() <= MAX_HOOKS => hooks.push(Hook {
                mode: stat.permissions() & 0o777,
                content: dir.read(name, MAX_BYTES)?,
                name: full,
            }),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hooks() {
        for good in ["pre-start", "post-stop", "veth-up.d/10-a.sh", "on-stop.d/x"] {
            assert!(is_hook(good), "{good}");
        }
        for bad in [
            "",
            "start",
            "pre-start.d",
            "pre-start/x",
            "pre-start.d/",
            "pre-start.d/.x",
            "pre-start.d/-x",
            "pre-start.d/..",
            "pre-start.d/a/b",
            "../pre-start",
            "/pre-start",
            "pre-start\0",
            "pre-start.d/a b",
            "x.d/y",
        ] {
            assert!(!is_hook(bad), "{bad:?}");
        }
    }
}
