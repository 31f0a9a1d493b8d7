use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::*;

struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    /// `outside/secret` beside `root/`, with links that lead from one to the other.
    fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let f = Fixture { dir };
        fs::create_dir_all(f.path("outside/dir")).unwrap();
        fs::write(f.path("outside/secret"), "secret").unwrap();
        fs::create_dir_all(f.path("root/etc")).unwrap();
        fs::write(f.path("root/etc/hostname"), "guest\n").unwrap();
        symlink(f.path("outside"), f.path("root/abs")).unwrap();
        symlink("../outside", f.path("root/up")).unwrap();
        symlink("/etc", f.path("root/in")).unwrap();
        symlink("/etc/hostname", f.path("root/name")).unwrap();
        symlink("/proc/self/root", f.path("root/magic")).unwrap();
        f
    }
    fn path(&self, p: &str) -> PathBuf {
        self.dir.path().join(p)
    }
    fn root(&self, symlinks: Symlinks) -> Root {
        Root::open_tree(self.path("root"), symlinks, Mounts::Cross).unwrap()
    }
    fn outside(&self) -> Vec<(String, u64)> {
        let mut all: Vec<_> = fs::read_dir(self.path("outside"))
            .unwrap()
            .map(|e| e.unwrap())
            .map(|e| {
                let m = e.metadata().unwrap();
                (
                    format!("{:?} {:o} {}", e.file_name(), m.mode(), m.uid()),
                    m.len(),
                )
            })
            .collect();
        all.sort();
        all
    }
}

#[test]
fn no_operation_leaves_the_tree() {
    let f = Fixture::new();
    let before = f.outside();
    for rule in [Symlinks::Refuse, Symlinks::InRoot] {
        let root = f.root(rule);
        for dir in ["abs", "up", "../outside", "magic/tmp", "etc/../../outside"] {
            let p = |name: &str| format!("{dir}/{name}");
            let fails = |what: &str, r: Result<()>| {
                assert!(r.is_err(), "{what} in {dir} worked ({rule:?})");
            };
            fails("open", root.open(p("secret"), OFlag::O_RDONLY, 0).map(drop));
            fails("create", root.create_new(p("new"), 0o600).map(drop));
            fails("read", root.read(p("secret"), 100).map(drop));
            fails("node", root.node(p("secret")).map(drop));
            fails("dir", root.dir(p("dir")).map(drop));
            fails("stat", root.stat(p("secret")).map(drop));
            fails("mkdir", root.mkdir(p("new"), 0o700));
            fails("mknod", root.mknod(p("new"), Kind::Fifo, 0o600, (0, 0)));
            fails("symlink", root.symlink("x", p("new")));
            fails("read_link", root.read_link(p("secret")).map(drop));
            fails("link from", root.hard_link(p("secret"), "stolen"));
            fails("link to", root.hard_link("etc/hostname", p("new")));
            fails("rename from", root.rename(p("secret"), "stolen"));
            fails("rename to", root.rename("etc/hostname", p("new")));
            fails("unlink", root.unlink(p("secret")));
            fails("rmdir", root.rmdir(p("dir")));
            fails("chown", root.chown(p("secret"), 1, 1));
            fails("chmod", root.chmod(p("secret"), 0o777));
            let t = Time { sec: 0, nsec: 0 };
            fails("times", root.set_times(p("secret"), t, t));
            fails("read_dir", root.read_dir(p("dir")).map(drop));
            let _ = root.remove_some(p("dir"), 10);
        }
        // Beneath a tree that has no such directory, this makes it there or nowhere.
        let _ = root.mkdir_all("../outside/a/b", 0o700);
        let _ = root.mkdir_all("up/a/b", 0o700);
        let _ = root.remove_dir_all("abs");
        let _ = f.root(rule).symlink(f.path("outside"), "abs");
    }
    assert_eq!(f.outside(), before);
}

#[test]
fn links_are_refused_or_followed_inside() {
    let f = Fixture::new();
    let refuse = f.root(Symlinks::Refuse);
    let e = refuse.read("in/hostname", 100).unwrap_err();
    assert_eq!(e.errno(), Errno::ELOOP);
    let text = e.to_string();
    let root = f.path("root");
    assert!(
        text.starts_with("openat2(")
            && text.ends_with(&format!("<{}>, \"in/hostname\"): ELOOP", root.display())),
        "{text}"
    );
    assert_eq!(refuse.read("name", 100).unwrap_err().errno(), Errno::ELOOP);
    assert_eq!(
        refuse.read("/etc/hostname", 100).unwrap_err().errno(),
        Errno::EXDEV
    );

    assert_eq!(refuse.dir("in").unwrap_err().errno(), Errno::ELOOP);
    assert!(matches!(refuse.read_dir("in"), Err(e) if e.errno() == Errno::ELOOP));

    let follow = f.root(Symlinks::InRoot);
    assert_eq!(follow.dir("in").unwrap_err().errno(), Errno::ENOTDIR);
    assert_eq!(follow.read("in/hostname", 100).unwrap(), b"guest\n");
    assert_eq!(follow.read("name", 100).unwrap(), b"guest\n");
    assert_eq!(follow.read("/../../etc/hostname", 100).unwrap(), b"guest\n");
    assert_eq!(follow.stat("name").unwrap().kind(), Kind::Symlink);
    follow.mkdir_all("in/a/b", 0o755).unwrap();
    assert!(f.path("root/etc/a/b").is_dir());
}

#[test]
fn a_tree_must_be_a_directory_itself() {
    let f = Fixture::new();
    for (p, errno) in [
        ("root/abs", Errno::ENOTDIR),
        ("root/etc/hostname", Errno::ENOTDIR),
        ("root/none", Errno::ENOENT),
    ] {
        let e = Root::open_tree(f.path(p), Symlinks::Refuse, Mounts::Cross).unwrap_err();
        assert_eq!(e.errno(), errno, "{p}");
    }
}

#[test]
fn mounts_can_be_refused() {
    let root = Root::open_tree("/", Symlinks::Refuse, Mounts::Refuse).unwrap();
    assert_eq!(root.node("proc/version").unwrap_err().errno(), Errno::EXDEV);
    root.with(Symlinks::Refuse, Mounts::Cross)
        .unwrap()
        .node("proc/version")
        .unwrap();
}

#[test]
fn reading_is_bounded_and_never_blocks() {
    let f = Fixture::new();
    let root = f.root(Symlinks::InRoot);
    assert_eq!(
        root.read("etc/hostname", 5).unwrap_err().errno(),
        Errno::EFBIG
    );
    assert_eq!(root.read("etc/hostname", 6).unwrap(), b"guest\n");
    assert_eq!(root.read("etc", 6).unwrap_err().errno(), Errno::EISDIR);
    root.mknod("fifo", Kind::Fifo, 0o600, (0, 0)).unwrap();
    assert!(
        fs::metadata(f.path("root/fifo"))
            .unwrap()
            .file_type()
            .is_fifo()
    );
    assert_eq!(root.read("fifo", 6).unwrap_err().errno(), Errno::EINVAL);
    let sparse = root.create_new("sparse", 0o600).unwrap();
    sparse.set_len(10 << 30).unwrap();
    assert_eq!(
        root.read("sparse", 1 << 20).unwrap_err().errno(),
        Errno::EFBIG
    );
}

#[test]
fn owner_mode_times_and_attributes_of_every_kind() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let f = Fixture::new();
    let root = f.root(Symlinks::Refuse);
    root.mknod("null", Kind::Char, 0o600, (1, 3)).unwrap();
    root.mknod("fifo", Kind::Fifo, 0o600, (0, 0)).unwrap();
    assert_eq!(root.stat("null").unwrap().device(), (1, 3));
    let time = Time {
        sec: -5,
        nsec: 123_456_789,
    };
    for path in ["etc/hostname", "etc", "name", "null", "fifo"] {
        let node = root.node(path).unwrap();
        node.chown(1234, 70_000).unwrap();
        if path == "name" {
            assert!(node.chmod(0o777).is_err());
            assert_eq!(
                node.reopen(OFlag::O_RDONLY).unwrap_err().errno(),
                Errno::ELOOP
            );
        } else {
            node.chmod(0o4751).unwrap();
            assert_eq!(node.stat().unwrap().permissions(), 0o4751, "{path}");
        }
        node.set_xattr("trusted.osctl-test", b"1").unwrap();
        assert_eq!(node.xattr("trusted.osctl-test").unwrap().unwrap(), b"1");
        assert_eq!(node.xattrs().unwrap(), ["trusted.osctl-test"], "{path}");
        node.remove_xattr("trusted.osctl-test").unwrap();
        assert_eq!(node.xattr("trusted.osctl-test").unwrap(), None);
        node.set_times(time, time).unwrap();
        let stat = node.stat().unwrap();
        assert_eq!((stat.uid, stat.gid), (1234, 70_000), "{path}");
        assert_eq!(stat.mtime, time, "{path}");
    }
    let file = Node::from(root.open("etc/hostname", OFlag::O_RDWR, 0).unwrap());
    let long = vec![7u8; 1000];
    file.set_xattr("user.long", &long).unwrap();
    assert_eq!(file.xattr("user.long").unwrap().unwrap(), long);
    assert!(file.set_xattr("user.a\0b", b"").is_err());
}

#[test]
fn removal_is_bounded_and_resumes() {
    let f = Fixture::new();
    let root = f.root(Symlinks::Refuse);
    for i in 0..2000 {
        fs::write(f.path(&format!("root/etc/{i}")), "").unwrap();
    }
    symlink(f.path("outside"), f.path("root/etc/link")).unwrap();
    let first = root.remove_some("etc", 10).unwrap();
    assert_eq!((first.removed, first.done), (10, false));
    let mut rounds = 0;
    while !root.remove_some("etc", 500).unwrap().done {
        rounds += 1;
        assert!(rounds < 10);
    }
    assert!(!f.path("root/etc").exists());
    assert!(f.path("outside/secret").exists());
    assert!(root.remove_some("etc", 500).unwrap().done);
    root.remove_dir_all("none").unwrap();
    root.remove_dir_all("name").unwrap();
}

#[test]
fn a_tree_deeper_than_descriptors_and_paths_is_removed() {
    let f = Fixture::new();
    let root = f.root(Symlinks::Refuse);
    root.mkdir("deep", 0o700).unwrap();
    let mut at = root.dir("deep").unwrap();
    for _ in 0..3000 {
        at.create_new("file", 0o600).unwrap();
        at.mkdir("d", 0o700).unwrap();
        at = at.dir("d").unwrap();
    }
    drop(at);
    root.remove_dir_all("deep").unwrap();
    assert!(!f.path("root/deep").exists());
}

#[test]
fn what_can_not_be_removed_is_told() {
    let f = Fixture::new();
    let root = Root::open_tree("/", Symlinks::Refuse, Mounts::Cross).unwrap();
    // A mount point is neither entered nor removed; procfs would refuse anyway.
    let e = root.remove_dir_all("proc").unwrap_err();
    assert!(matches!(e.errno(), Errno::EXDEV | Errno::EBUSY), "{e}");
    drop(f);
}
