//! Changes to files of the guest, made by a process that is root of the container and nothing more,
//! with the guest's `/` as its own. What cannot be done is said, not forced.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fchmod, fstat};
use osctl_linux::beneath::{Kind, Mounts, Root, Stat, Symlinks};
use osctl_linux::error::{Context, Result as CallResult};
use osctl_runtime::spec::{FileAction, FileOp, MAX_GUEST_FILE, SymlinkPolicy};

use crate::fault::{Fault, Outcome};

const READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_NONBLOCK);

/// Makes one change. `root` follows the guest's symlinks within the guest.
pub fn apply(root: &Root, op: &FileOp) -> Outcome {
    let path = op.path.as_path();
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Fault::refused("not the path of a file"));
    };
    if op.parents {
        root.mkdir_all(parent, 0o755)?;
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let directory = match root.open(parent, flags, 0) {
        Err(error) if error.errno() == Errno::ENOENT => return Ok(()),
        other => other?,
    };
    // From here on only this name in this very directory is touched.
    let directory = Root::from_fd(directory.into(), Symlinks::Refuse, Mounts::Cross);
    let existing = directory.try_stat(name)?;
    match (&op.action, existing.as_ref().map(Stat::kind)) {
        (FileAction::Remove | FileAction::Symlink { .. }, Some(Kind::Dir)) => {
            Err(Fault::refused("is a directory"))
        }
        (_, Some(Kind::File)) if existing.as_ref().is_some_and(kept) => Ok(()),
        (FileAction::Remove | FileAction::Update { .. }, None) => Ok(()),
        (FileAction::Remove, Some(_)) => Ok(directory.unlink(name)?),
        (FileAction::Symlink { target }, Some(Kind::Symlink))
            if directory.read_link(name)? == OsString::from(target) =>
        {
            Ok(())
        }
        (FileAction::Symlink { target }, _) => {
            let temporary = with_temporary(|t| directory.symlink(target, t))?.0;
            put(&directory, &temporary, name)
        }
        (_, None) => create(&directory, name, op, Vec::new()),
        (_, Some(Kind::File)) => rewrite(&directory, name, op, existing.as_ref()),
        (_, Some(Kind::Symlink)) => match op.symlink {
            SymlinkPolicy::Refuse => Err(Fault::refused("is a symlink")),
            SymlinkPolicy::Replace => create(&directory, name, op, Vec::new()),
            SymlinkPolicy::Follow => through_link(root, op),
        },
        (_, Some(kind)) => Err(Fault::refused(format!("is not a file but a {kind:?}"))),
    }
}

/// Opens a regular file of the guest for reading; the guest's symlinks are followed.
pub fn open_regular(root: &Root, path: &Path) -> Outcome<File> {
    let file = root.open(path, READ, 0)?;
    regular(file)
}

fn regular(file: File) -> Outcome<File> {
    let stat = fstat(&file).call(|| "fstat")?;
    if Stat::from(stat).kind() != Kind::File {
        return Err(Fault::refused("is not a regular file"));
    }
    Ok(file)
}

/// The guest has taken the file out of our hands: its owner may not write it.
fn kept(stat: &Stat) -> bool {
    stat.permissions() & 0o200 == 0
}

fn read(file: &File) -> Outcome<Vec<u8>> {
    let mut content = Vec::new();
    let size = file
        .take(MAX_GUEST_FILE + 1)
        .read_to_end(&mut content)
        .call(|| "read")?;
    if size as u64 > MAX_GUEST_FILE {
        return Err(Fault::refused(format!(
            "is larger than {MAX_GUEST_FILE} bytes"
        )));
    }
    Ok(content)
}

fn rewrite(directory: &Root, name: &OsStr, op: &FileOp, stat: Option<&Stat>) -> Outcome {
    let file = regular(directory.open(name, READ | OFlag::O_NOFOLLOW, 0)?)?;
    let old = read(&file)?;
    let new = content(&op.action, &old)?;
    if new == old {
        return Ok(());
    }
    let (mode, uid, gid) = stat.map_or((op.mode, op.uid, op.gid), |stat| {
        (stat.permissions(), stat.uid, stat.gid)
    });
    match replace(directory, name, &new, mode, uid, gid) {
        // Something is mounted on the file, or the directory takes no new files.
        Err(fault) if matches!(fault.errno(), Some(Errno::EBUSY | Errno::EROFS)) => {
            let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
            overwrite(regular(directory.open(name, flags, 0)?)?, &new)
        }
        other => other,
    }
}

fn create(directory: &Root, name: &OsStr, op: &FileOp, old: Vec<u8>) -> Outcome {
    let new = content(&op.action, &old)?;
    replace(directory, name, &new, op.mode, op.uid, op.gid)
}

fn through_link(root: &Root, op: &FileOp) -> Outcome {
    let creates = match op.action {
        FileAction::Update { .. } => OFlag::empty(),
        _ => OFlag::O_CREAT,
    };
    let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | creates;
    let file = match root.open(&op.path, flags, op.mode) {
        Err(error) if error.errno() == Errno::ENOENT && creates.is_empty() => return Ok(()),
        other => regular(other?)?,
    };
    if kept(&Stat::from(fstat(&file).call(|| "fstat")?)) {
        return Ok(());
    }
    let old = read(&file)?;
    let new = content(&op.action, &old)?;
    if new == old {
        return Ok(());
    }
    overwrite(file, &new)
}

fn overwrite(mut file: File, new: &[u8]) -> Outcome {
    file.seek(SeekFrom::Start(0)).call(|| "lseek")?;
    file.write_all(new).call(|| "write")?;
    Ok(file.set_len(new.len() as u64).call(|| "ftruncate")?)
}

/// The guest never sees half of a file.
fn replace(directory: &Root, name: &OsStr, new: &[u8], mode: u32, uid: u32, gid: u32) -> Outcome {
    let (temporary, mut file) = with_temporary(|t| directory.create_new(t, 0o600))?;
    let owner = (
        nix::unistd::Uid::from_raw(uid),
        nix::unistd::Gid::from_raw(gid),
    );
    let filled = (|| {
        file.write_all(new).call(|| "write")?;
        nix::unistd::fchown(&file, Some(owner.0), Some(owner.1)).call(|| "fchown")?;
        fchmod(&file, Mode::from_bits_truncate(mode & 0o7777)).call(|| "fchmod")
    })();
    if let Err(error) = filled {
        let _ = directory.unlink(&temporary);
        return Err(error.into());
    }
    put(directory, &temporary, name)
}

fn put(directory: &Root, temporary: &OsStr, name: &OsStr) -> Outcome {
    directory.rename(temporary, name).map_err(|error| {
        let _ = directory.unlink(temporary);
        Fault::from(error)
    })
}

/// Makes something under a name that is not taken.
fn with_temporary<T>(mut make: impl FnMut(&OsStr) -> CallResult<T>) -> Outcome<(OsString, T)> {
    let mut attempt = 0;
    loop {
        let name = OsString::from(format!(".osctl-{}-{attempt}", std::process::id()));
        match make(&name) {
            Ok(made) => return Ok((name, made)),
            Err(error) if error.errno() == Errno::EEXIST && attempt < 100 => attempt += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

fn content(action: &FileAction, old: &[u8]) -> Outcome<Vec<u8>> {
    match action {
        FileAction::Write { content } | FileAction::Update { content } => {
            Ok(content.clone().into_bytes())
        }
        FileAction::Block {
            begin,
            end,
            content,
        } => block(old, begin, end, content),
        FileAction::Remove | FileAction::Symlink { .. } => Ok(Vec::new()),
    }
}

/// `old` with its block replaced, appended, or removed when there is nothing to put into it.
fn block(old: &[u8], begin: &str, end: &str, content: &str) -> Outcome<Vec<u8>> {
    let mut new = Vec::with_capacity(old.len() + content.len() + begin.len() + end.len() + 4);
    let mut lines = old.split_inclusive(|byte| *byte == b'\n');
    let is =
        |line: &[u8], marker: &str| line.strip_suffix(b"\n").unwrap_or(line) == marker.as_bytes();
    let mut found = false;
    while let Some(line) = lines.next() {
        if found || !is(line, begin) {
            new.extend_from_slice(line);
            continue;
        }
        found = true;
        if !lines.any(|line| is(line, end)) {
            return Err(Fault::refused(format!(
                "{begin:?} is not followed by {end:?}"
            )));
        }
        append_block(&mut new, begin, end, content);
    }
    if !found {
        if !new.is_empty() && !new.ends_with(b"\n") && !content.is_empty() {
            new.push(b'\n');
        }
        append_block(&mut new, begin, end, content);
    }
    Ok(new)
}

fn append_block(new: &mut Vec<u8>, begin: &str, end: &str, content: &str) {
    if content.is_empty() {
        return;
    }
    let newline = if content.ends_with('\n') { "" } else { "\n" };
    new.extend_from_slice(format!("{begin}\n{content}{newline}{end}\n").as_bytes());
}

/// Copies a regular file of at most `max` bytes to `to`. The exit code tells what went wrong.
pub fn copy_out(root: &Root, path: &Path, max: u64, to: OwnedFd) -> Result<(), (i32, Fault)> {
    let file = open_regular(root, path).map_err(|fault| match fault.errno() {
        Some(Errno::ENOENT | Errno::ENOTDIR) => (127, fault),
        _ => (126, fault),
    })?;
    let metadata = file.metadata().call(|| "fstat");
    let size = metadata.map_err(|error| (125, error.into()))?.len();
    let too_large = || (126, Fault::refused(format!("is larger than {max} bytes")));
    if size > max {
        return Err(too_large());
    }
    let mut to = File::from(to);
    let copied = std::io::copy(&mut (&file).take(max.saturating_add(1)), &mut to);
    match copied.call(|| "write") {
        Ok(copied) if copied > max => Err(too_large()),
        Ok(_) => Ok(()),
        Err(error) => Err((125, error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(old: &str, content: &str) -> Outcome<String> {
        block(old.as_bytes(), "#b", "#e", content).map(|new| String::from_utf8(new).unwrap())
    }

    #[test]
    fn a_block_is_appended_replaced_and_removed() {
        assert_eq!(changed("", "x").unwrap(), "#b\nx\n#e\n");
        assert_eq!(changed("a", "x\n").unwrap(), "a\n#b\nx\n#e\n");
        assert_eq!(
            changed("a\n#b\nold\n#e\nz", "x").unwrap(),
            "a\n#b\nx\n#e\nz"
        );
        assert_eq!(changed("a\n#b\nold\n#e\nz\n", "").unwrap(), "a\nz\n");
        assert_eq!(changed("a", "").unwrap(), "a");
        assert!(changed("#b\nold\n", "x").is_err());
    }

    struct Tree(std::path::PathBuf);

    impl Tree {
        fn new(name: &str) -> (Self, Root) {
            let name = format!("osctl-files-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(path.join("etc")).unwrap();
            let root = Root::open_tree(&path, Symlinks::InRoot, Mounts::Cross).unwrap();
            (Tree(path), root)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn write(path: &str) -> FileOp {
        FileOp {
            path: path.into(),
            action: FileAction::Write {
                content: "new\n".into(),
            },
            mode: 0o640,
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
            parents: false,
            symlink: SymlinkPolicy::Refuse,
        }
    }

    #[test]
    fn kinds_of_targets() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let (tree, root) = Tree::new("kinds");
        let at = |name: &str| tree.0.join("etc").join(name);

        apply(&root, &write("/etc/new")).unwrap();
        assert_eq!(std::fs::read_to_string(at("new")).unwrap(), "new\n");
        let mode = std::fs::metadata(at("new")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o640);

        std::fs::write(at("kept"), "mine").unwrap();
        std::fs::set_permissions(at("kept"), PermissionsExt::from_mode(0o444)).unwrap();
        apply(&root, &write("/etc/kept")).unwrap();
        assert_eq!(std::fs::read_to_string(at("kept")).unwrap(), "mine");

        nix::unistd::mkfifo(&at("fifo"), Mode::from_bits_truncate(0o600)).unwrap();
        apply(&root, &write("/etc/fifo")).unwrap_err();
        open_regular(&root, Path::new("/etc/fifo")).unwrap_err();

        apply(&root, &write("/absent/file")).unwrap();
        assert!(!tree.0.join("absent").exists());
        assert_eq!(std::fs::read_dir(tree.0.join("etc")).unwrap().count(), 3);

        symlink("/new", at("link")).unwrap();
        apply(&root, &write("/etc/link")).unwrap_err();
        let follow = FileOp {
            symlink: SymlinkPolicy::Follow,
            ..write("/etc/link")
        };
        apply(&root, &follow).unwrap();
        assert_eq!(
            std::fs::read_to_string(tree.0.join("new")).unwrap(),
            "new\n"
        );
    }
}
