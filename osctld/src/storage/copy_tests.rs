use std::fs;
use std::os::unix::fs::symlink;

use osctl_linux::beneath::{Mounts, Root, Symlinks};

use super::zoo::{assert_same, fill, manifest, tree};
use super::*;

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

#[test]
fn a_copy_has_everything() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    fill(&tree(&from));
    let copied = copy_tree(&tree(&from), &tree(&to), Watch::none()).unwrap();
    assert_eq!(copied.objects as usize, manifest(&from).len() - 1);
    assert_same(&from, &to);
    let host = tree(&to)
        .node("etc/owned")
        .unwrap()
        .xattr("trusted.host")
        .unwrap();
    assert_eq!(host, None);
}

#[test]
fn a_copy_into_a_directory_that_gives_its_group_has_its_own() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir_all(from.join("dir")).unwrap();
    fs::create_dir(&to).unwrap();
    for name in ["file", "dir/file"] {
        fs::write(from.join(name), "").unwrap();
    }
    symlink("x", from.join("link")).unwrap();
    tree(dir.path()).chown("to", 0, 1234).unwrap();
    tree(dir.path()).chmod("to", 0o2755).unwrap();
    copy_tree(&tree(&from), &tree(&to), Watch::none()).unwrap();
    assert_same(&from, &to);
}

#[test]
fn a_copy_to_another_file_system_has_everything() {
    use std::os::unix::fs::MetadataExt;
    let shm = std::path::Path::new("/dev/shm");
    let dir = tempfile::tempdir().unwrap();
    if !is_root() {
        return;
    }
    let Ok(other) = tempfile::tempdir_in(shm) else {
        println!("skipped: no /dev/shm");
        return;
    };
    if fs::metadata(shm).unwrap().dev() == fs::metadata(dir.path()).unwrap().dev() {
        println!("skipped: /dev/shm is no other file system");
        return;
    }
    fill(&tree(dir.path()));
    if let Err(e) = copy_tree(&tree(dir.path()), &tree(other.path()), Watch::none()) {
        // tmpfs has user.* since Linux 6.6 only.
        println!("skipped: {e:?}");
        assert!(format!("{e:?}").contains("EOPNOTSUPP"), "{e:?}");
        return;
    }
    assert_same(dir.path(), other.path());
}

#[test]
fn a_copy_does_not_follow_links_or_mounts() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    let outside = dir.path().join("outside");
    for d in [&from, &to, &outside] {
        fs::create_dir(d).unwrap();
    }
    fs::write(outside.join("secret"), "secret").unwrap();
    symlink(&outside, from.join("dir")).unwrap();
    symlink(outside.join("secret"), from.join("file")).unwrap();
    copy_tree(&tree(&from), &tree(&to), Watch::none()).unwrap();
    assert!(fs::symlink_metadata(to.join("dir")).unwrap().is_symlink());
    assert!(fs::symlink_metadata(to.join("file")).unwrap().is_symlink());

    // / has /proc mounted: an error, not a copy of it.
    let proc = Root::open_tree("/", Symlinks::Refuse, Mounts::Cross).unwrap();
    let cursor = Cursor::top(&proc).unwrap().child("proc".as_ref()).unwrap();
    assert_eq!(cursor.open().unwrap_err().errno(), nix::errno::Errno::EXDEV);
}

#[test]
fn a_copy_can_be_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    fs::write(from.join("file"), "x").unwrap();
    let stop = Watch::new(&|| true, &|_, _| {});
    let made = copy_tree(&tree(&from), &tree(&to), stop);
    assert!(matches!(made, Err(Error::Cancelled)));
    assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
}

#[test]
fn a_tree_deeper_than_any_path_is_copied_and_measured() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    let mut at = tree(&from);
    let mut links = 0;
    for i in 0..300 {
        let name = "d".repeat(60);
        at.mkdir(&name, 0o755).unwrap();
        let next = at.dir(&name).unwrap();
        if i % 100 == 99 {
            tree(&from).try_stat("first").unwrap().map_or_else(
                || drop(tree(&from).create_new("first", 0o600).unwrap()),
                drop,
            );
            tree(&from).hard_link_into("first", &next, "link").unwrap();
            links += 1;
        }
        at = next;
    }
    let copied = copy_tree(&tree(&from), &tree(&to), Watch::none()).unwrap();
    assert_eq!(copied.objects, 300 + links + 1);
    assert_eq!(tree(&to).stat("first").unwrap().nlink, links + 1);
    assert!(usage::usage(&tree(&to), Watch::none()).unwrap() > 300 * 4096);
    // tempfile can't remove what no path reaches.
    for d in ["from", "to"] {
        tree(dir.path()).remove_dir_all(d).unwrap();
    }
}

#[test]
fn data_is_copied_with_its_holes() {
    use std::os::unix::fs::{FileExt, MetadataExt};
    let dir = tempfile::tempdir().unwrap();
    let from = fs::File::create_new(dir.path().join("from")).unwrap();
    from.set_len(64 << 20).unwrap();
    from.write_all_at(b"x", 20 << 20).unwrap();
    from.write_all_at(b"end", (64 << 20) - 3).unwrap();
    let from = fs::File::open(dir.path().join("from")).unwrap();
    let to = fs::File::create_new(dir.path().join("to")).unwrap();
    copy_data(&from, &to, Watch::none()).unwrap();
    assert!(to.metadata().unwrap().blocks() * 512 < 1 << 20);
    assert!(fs::read(dir.path().join("from")).unwrap() == fs::read(dir.path().join("to")).unwrap());
}
