//! What of the host may be mounted in a container, and finding it there.
//!
//! Guests may be able to change what a path of the host leads to, within what was mounted for them.
//! So no symbolic link is followed, and what is found here is what the runtime has to find.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use osctl_api::mounts::{Create, HostPath, MountOptions};
use osctl_linux::beneath::{Kind, Mounts, Node, Root, Stat, Symlinks};
use osctl_runtime::spec::FileId;
use rustix::fs::StatVfsMountFlags;

use super::mount::Found;
use crate::daemon::Daemon;
use crate::error::Error;

/// File systems in which the kernel shows the host's state, by their magic numbers (statfs(2)).
const KERNEL: [(&str, i64); 13] = [
    ("proc", 0x9fa0),
    ("sysfs", 0x6265_6572),
    ("cgroup", 0x27_e0eb),
    ("cgroup2", 0x6367_7270),
    ("debugfs", 0x6462_6720),
    ("tracefs", 0x7472_6163),
    ("securityfs", 0x7363_6673),
    ("configfs", 0x6265_6570),
    ("bpf", 0xcafe_4a11),
    ("pstore", 0x6165_676c),
    ("efivarfs", 0xde5e_81e4),
    ("devpts", 0x1cd1),
    ("nsfs", 0x6e73_6673),
];

/// What of a pool is not for others; with ZFS, anything may be beside it.
const OF_POOL: [&str; 6] = ["ct", "conf", "hook", "log", "repository", "trash"];

/// Directories that no container may see, each with all that it is in.
#[derive(Debug, Default)]
pub struct Protected(Vec<(PathBuf, Vec<Stat>)>);

impl Protected {
    /// Those of a daemon and its pools. Blocks.
    pub fn of(daemon: &Daemon) -> Protected {
        let own = [&daemon.config.run_dir, &daemon.config.state_dir];
        let own = own.into_iter().cloned();
        let pools = daemon.all_pools();
        let of_pools = pools
            .iter()
            .flat_map(|pool| OF_POOL.map(|dir| pool.storage.path().join(dir)));
        Protected::new(own.chain(of_pools))
    }

    fn new(dirs: impl Iterator<Item = PathBuf>) -> Protected {
        // What is not there can't be seen.
        let real = dirs.filter_map(|dir| dir.canonicalize().ok());
        let with_chain = real.filter_map(|dir| {
            let chain = chain(dir.to_str()?).ok()?;
            Some((dir, chain))
        });
        Protected(with_chain.collect())
    }

    /// The first one that is in what ends `chain`, or that it is in.
    fn concerned(&self, chain: &[Stat]) -> Option<&Path> {
        let has = |chain: &[Stat], wanted: Option<&Stat>| {
            wanted.is_some_and(|wanted| chain.iter().any(|stat| id(stat) == id(wanted)))
        };
        let is_it =
            |(_, its): &&(PathBuf, Vec<Stat>)| has(its, chain.last()) || has(chain, its.last());
        self.0.iter().find(is_it).map(|(dir, _)| dir.as_path())
    }
}

fn id(stat: &Stat) -> FileId {
    FileId {
        dev: stat.dev,
        ino: stat.ino,
    }
}

/// What the components of a path without symbolic links lead to, from the first one on.
fn chain(path: &str) -> osctl_linux::error::Result<Vec<Stat>> {
    let mut place = Root::open_tree("/", Symlinks::Refuse, Mounts::Cross)?;
    let mut stats = Vec::new();
    let mut parts = path.trim_start_matches('/').split('/').peekable();
    while let Some(part) = parts.next() {
        let node = place.node(part)?;
        stats.push(node.stat()?);
        if parts.peek().is_some() {
            place = place.dir(part)?;
        }
    }
    Ok(stats)
}

/// Finds a file or directory of the host, and refuses what no container may have. Blocks.
///
/// # Errors
/// `NotFound`, `InvalidArgument`, `PermissionDenied`.
pub fn find(path: &HostPath, opts: &MountOptions, protected: &Protected) -> Result<Found, Error> {
    let failed = |e: osctl_linux::error::Error| match e.errno() {
        Errno::ENOENT | Errno::ENOTDIR => Error::not_found(format!("there is no {path}")),
        Errno::ELOOP => is_symlink(path),
        _ => Error::backend(format!("cannot open {path}"), e),
    };
    let chain = chain(path.as_str()).map_err(failed)?;
    let host = Root::open_tree("/", Symlinks::Refuse, Mounts::Cross).map_err(failed)?;
    let node = host
        .node(path.as_str().trim_start_matches('/'))
        .map_err(failed)?;
    let stat = node.stat().map_err(failed)?;
    if chain.last().map(id) != Some(id(&stat)) {
        let moving = format!("{path} is being replaced by something else");
        return Err(Error::state(moving));
    }
    match stat.kind() {
        Kind::Dir | Kind::File | Kind::Socket => {}
        Kind::Symlink => return Err(is_symlink(path)),
        _ => {
            let odd = format!("{path} is neither a directory nor a file nor a socket");
            return Err(Error::invalid(odd).hint("for devices there is `osctl ct devices add`"));
        }
    }
    if opts.create() == Create::Dir && stat.kind() != Kind::Dir {
        let odd = format!("{path} is no directory");
        return Err(Error::invalid(odd).hint("use create=file"));
    }
    if let Some(dir) = protected.concerned(&chain) {
        return Err(Error::denied(format!(
            "{path} can't be mounted in a container: {} is for none",
            dir.display()
        )));
    }
    let mounted = rustix::fs::fstatfs(&node)
        .map_err(|e| Error::backend(format!("cannot look at the file system of {path}"), e))?;
    if let Some((name, _)) = KERNEL.iter().find(|(_, magic)| *magic == mounted.f_type) {
        return Err(Error::denied(format!(
            "{path} can't be mounted in a container: {name} shows the state of the host"
        )));
    }
    if opts.is_idmapped() && !is_harmless(&node, &chain)? {
        let public = format!("{path} can't be mounted with idmap: users of the host can get there");
        return Err(Error::denied(public).hint(
            "root of the container could make programs there that are root's for them: \
             take a directory in one that only root may enter (mode 0700), or a file system \
             that is mounted nosuid",
        ));
    }
    Ok(Found::File(path.as_str().into(), id(&stat)))
}

/// Whether files of root's that a container makes there can be run by nobody on the host.
fn is_harmless(node: &Node, chain: &[Stat]) -> Result<bool, Error> {
    let mount = rustix::fs::fstatvfs(node)
        .map_err(|e| Error::backend("cannot look at the options of a mount", e))?;
    // The last one belongs to the container, which may change its mode.
    let above = chain.split_last().map_or(&[][..], |(_, above)| above);
    let is_closed = |stat: &Stat| stat.uid == 0 && stat.permissions() & 0o011 == 0;
    Ok(mount.f_flag.contains(StatVfsMountFlags::NOSUID) || above.iter().any(is_closed))
}

fn is_symlink(path: &HostPath) -> Error {
    let link = format!("{path} is or goes through a symbolic link");
    let error = Error::invalid(link);
    match Path::new(path.as_str()).canonicalize() {
        Ok(real) => error.hint(format!("give what it leads to: {}", real.display())),
        Err(_) => error,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use osctl_api::Code;

    use super::*;

    fn found(path: &Path, opts: &str, protected: &Protected) -> Result<Found, Error> {
        let path = path.to_str().unwrap().parse().unwrap();
        find(&path, &opts.parse().unwrap(), protected)
    }

    fn code(path: &Path, opts: &str, protected: &Protected) -> Code {
        found(path, opts, protected).unwrap_err().code()
    }

    /// A directory without symbolic links in its path.
    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        (dir, path)
    }

    #[test]
    fn files_and_directories_are_found_and_nothing_else() {
        let (_dir, at) = place();
        let none = Protected::default();
        fs::create_dir(at.join("d")).unwrap();
        fs::write(at.join("f"), "").unwrap();
        let Found::File(path, file) = found(&at.join("d"), "bind", &none).unwrap() else {
            panic!("no file");
        };
        use std::os::unix::fs::MetadataExt;
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((file.dev, file.ino), (meta.dev(), meta.ino()));
        found(&at.join("f"), "create=file", &none).unwrap();
        assert_eq!(
            code(&at.join("f"), "create=dir", &none),
            Code::InvalidArgument
        );
        assert_eq!(code(&at.join("none"), "", &none), Code::NotFound);
        assert_eq!(code(&at.join("f/x"), "", &none), Code::NotFound);
        nix::unistd::mkfifo(&at.join("p"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(code(&at.join("p"), "", &none), Code::InvalidArgument);
        assert_eq!(
            code(Path::new("/dev/null"), "", &none),
            Code::InvalidArgument
        );
        for kernel in ["/proc", "/proc/sys", "/sys/kernel", "/dev/pts"] {
            assert_eq!(code(Path::new(kernel), "", &none), Code::PermissionDenied);
        }
    }

    #[test]
    fn symbolic_links_are_refused_with_what_they_lead_to() {
        let (_dir, at) = place();
        let none = Protected::default();
        fs::create_dir_all(at.join("d/sub")).unwrap();
        symlink(at.join("d"), at.join("l")).unwrap();
        for path in ["l", "l/sub"] {
            let e = found(&at.join(path), "", &none).unwrap_err();
            assert_eq!(e.code(), Code::InvalidArgument);
            let e = osctl_api::Error::from(e);
            assert!(e.hint.unwrap().contains("/d"), "{path}");
        }
    }

    #[test]
    fn what_is_protected_is_neither_shown_nor_held() {
        let (_dir, at) = place();
        fs::create_dir_all(at.join("pool/ct/web1/private")).unwrap();
        fs::create_dir_all(at.join("pool/beside")).unwrap();
        fs::write(at.join("pool/ct/file"), "").unwrap();
        symlink(at.join("pool"), at.join("alias")).unwrap();
        // However its name is told.
        let protected = Protected::new([at.join("alias/ct"), at.join("none")].into_iter());
        for path in [
            "",
            "pool",
            "pool/ct",
            "pool/ct/web1",
            "pool/ct/web1/private",
            "pool/ct/file",
        ] {
            let path = at.join(path);
            let path = Path::new(path.to_str().unwrap().trim_end_matches('/'));
            assert_eq!(
                code(path, "", &protected),
                Code::PermissionDenied,
                "{path:?}"
            );
        }
        found(&at.join("pool/beside"), "", &protected).unwrap();
    }

    #[test]
    fn what_users_of_the_host_can_enter_is_not_given_to_a_containers_root() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        let (_dir, at) = place();
        let none = Protected::default();
        let mode = |path: &str, mode| {
            fs::set_permissions(at.join(path), fs::Permissions::from_mode(mode)).unwrap();
        };
        fs::create_dir_all(at.join("a/b")).unwrap();
        mode("", 0o755);
        mode("a", 0o755);
        mode("a/b", 0o700);
        if rustix::fs::statvfs(&at)
            .unwrap()
            .f_flag
            .contains(StatVfsMountFlags::NOSUID)
        {
            println!("skipped: the directory of temporary files is mounted nosuid");
            return;
        }
        // Its own mode is not worth much: it is the container's.
        assert_eq!(
            code(&at.join("a/b"), "idmap", &none),
            Code::PermissionDenied
        );
        found(&at.join("a/b"), "", &none).unwrap();
        mode("a", 0o710);
        assert_eq!(
            code(&at.join("a/b"), "idmap", &none),
            Code::PermissionDenied
        );
        mode("a", 0o700);
        found(&at.join("a/b"), "idmap", &none).unwrap();
    }
}
