//! The cgroup back end against the kernel. Each test has a tree of its own, removed at its end.

mod devices;
mod life;
mod limits;

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use super::*;

const LIMIT: Duration = Duration::from_secs(10);

/// Host ids that nothing else uses.
const OWNER: Owner = Owner {
    uid: 4_100_000,
    gid: 4_200_000,
};

/// A tree with one container, removed with everything in it when dropped.
struct Scratch {
    tree: Tree,
    ct: Node,
    paths: ContainerPaths,
}

impl Scratch {
    /// `None`, with a message, if the test lacks the privileges.
    fn new(layout: Layout) -> Option<Scratch> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = format!("osctl-test-{}-{number}", std::process::id());
        let tree = Tree::new(layout, &root).unwrap();
        let ct = Node::of_group("tank", "/default/sub").unwrap();
        let ct = ct.container("web1").unwrap();
        let mut scratch = Scratch {
            tree,
            ct,
            paths: ContainerPaths::default(),
        };
        match scratch.tree.ensure_container(&scratch.ct, OWNER) {
            Ok(paths) => scratch.paths = paths,
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::ROFS.raw_os_error()) => {
                println!("skipped: {e}");
                return None;
            }
            Err(e) => panic!("{e}: {:?}", std::error::Error::source(&e)),
        }
        Some(scratch)
    }

    /// On the host as it is.
    fn here() -> Option<Scratch> {
        Scratch::new(Layout::detect().unwrap())
    }

    /// On the host's v2 tree alone, `None` if it has none.
    fn v2_only() -> Option<Scratch> {
        let layout = Layout::detect().unwrap();
        if layout.v2().is_none() {
            println!("skipped: no cgroup v2");
            return None;
        }
        Scratch::new(layout.without_v1())
    }

    /// On the host's v1 trees alone, `None` if they lack a controller.
    fn v1_only(controllers: &[&str]) -> Option<Scratch> {
        let layout = Layout::detect_without_v2();
        if !controllers.iter().all(|c| layout.v1_with(c).is_some()) {
            println!("skipped: no cgroup v1 with {controllers:?}");
            return None;
        }
        Scratch::new(layout)
    }

    fn all_paths(&self) -> Vec<PathBuf> {
        let paths = &self.paths;
        paths.v1.iter().chain(&paths.v2_payload).cloned().collect()
    }

    /// A shell in the container's cgroups that runs a script; `exec` in it keeps the pid.
    fn run(&self, script: &str) -> Guest {
        Guest::start(&self.all_paths(), script)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for node in self.tree.containers("tank").unwrap_or_default() {
            if let Err(e) = self.tree.remove_container(&node, LIMIT) {
                println!("left behind: {e}");
            }
        }
        if let Err(e) = self
            .tree
            .remove_pool("tank")
            .and_then(|()| self.tree.remove_root())
        {
            println!("left behind: {e}");
        }
    }
}

/// A process in some cgroups, killed when dropped.
struct Guest {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Guest {
    fn start(cgroups: &[PathBuf], script: &str) -> Guest {
        let enter = r#"while [ "$1" != -- ]; do echo 0 > "$1/cgroup.procs" || exit 99; shift; done
            shift; echo ready; eval "$1""#;
        let mut child = Command::new("/bin/sh")
            .args(["-c", enter, "sh"])
            .args(cgroups)
            .args(["--", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut guest = Guest { child, lines };
        assert_eq!(guest.line(), "ready");
        guest
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Lets a script that waits in `read` go on.
    fn send(&mut self, text: &str) {
        use std::io::Write;
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{text}").unwrap();
    }

    fn speaks_within(&self, time: Duration) -> bool {
        use rustix::event::{PollFd, PollFlags};
        let mut fds = [PollFd::new(self.lines.get_ref(), PollFlags::IN)];
        events::poll_for(&mut fds, time).unwrap() > 0
    }

    fn ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Not waited for: it may be frozen. The scratch tree removes it for good.
        let _ = self.child.kill();
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}
