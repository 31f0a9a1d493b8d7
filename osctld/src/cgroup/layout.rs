//! Which cgroup hierarchies the host mounts, and where.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Error, Result};

/// v1 controllers in which containers get a cgroup. The freezer is used only without v2: each
/// further hierarchy costs an RCU grace period when a container starts.
const V1_CONTROLLERS: [&str; 8] = [
    "cpu", "cpuacct", "cpuset", "memory", "devices", "pids", "blkio", "freezer",
];

/// How the host mounts cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only v2.
    Unified,
    /// v1 controllers, with a v2 tree beside them.
    Hybrid,
    /// Only v1.
    Legacy,
}

/// A mounted v1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Its controllers, of those that containers use.
    pub controllers: Vec<&'static str>,
}

/// The hierarchies of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    v2: Option<PathBuf>,
    v2_controllers: Vec<String>,
    v1: Vec<Hierarchy>,
}

impl Layout {
    /// Looks at the mounts of the calling process.
    pub fn detect() -> Result<Layout> {
        let text = fs::read_to_string("/proc/self/mountinfo").map_err(Error::Mounts)?;
        let mut layout = Layout::parse(&text);
        if let Some(mount) = &layout.v2 {
            let path = mount.join("cgroup.controllers");
            let list = fs::read_to_string(path).map_err(Error::Mounts)?;
            layout.v2_controllers = list.split_whitespace().map(str::to_owned).collect();
        }
        if layout.v2.is_none() && layout.v1.is_empty() {
            return Err(Error::NoHierarchy);
        }
        Ok(layout)
    }

    /// Reads the text of a `mountinfo` file; without the list of v2 controllers, which is not
    /// in there.
    pub fn parse(mountinfo: &str) -> Layout {
        let mut layout = Layout::default();
        for mount in mountinfo.lines().filter_map(Mount::parse) {
            match mount.fstype {
                "cgroup2" if layout.v2.is_none() => layout.v2 = Some(mount.point),
                "cgroup" => layout.add_v1(mount),
                _ => {}
            }
        }
        if layout.v2.is_some() {
            for h in &mut layout.v1 {
                h.controllers.retain(|c| *c != "freezer");
            }
            layout.v1.retain(|h| !h.controllers.is_empty());
        }
        layout
    }

    fn add_v1(&mut self, mount: Mount<'_>) {
        let options = || mount.options.split(',');
        let controllers: Vec<_> = V1_CONTROLLERS
            .into_iter()
            .filter(|c| options().any(|o| o == *c))
            .collect();
        // A hierarchy may be mounted a second time elsewhere; the first mount will do.
        if !controllers.is_empty() && self.v1_with(controllers[0]).is_none() {
            self.v1.push(Hierarchy {
                mount: mount.point,
                controllers,
            });
        }
    }

    /// How the host mounts cgroups.
    pub fn mode(&self) -> Mode {
        match (&self.v2, self.v1.is_empty()) {
            (Some(_), true) => Mode::Unified,
            (Some(_), false) => Mode::Hybrid,
            (None, _) => Mode::Legacy,
        }
    }

    /// Where v2 is mounted.
    pub fn v2(&self) -> Option<&Path> {
        self.v2.as_deref()
    }

    /// The controllers that v2 has here; on a hybrid host few or none.
    pub fn v2_controllers(&self) -> &[String] {
        &self.v2_controllers
    }

    /// The v1 hierarchies that containers use.
    pub fn v1(&self) -> &[Hierarchy] {
        &self.v1
    }

    /// The mount of the v1 hierarchy that has this controller.
    pub fn v1_with(&self, controller: &str) -> Option<&Path> {
        let has = |h: &&Hierarchy| h.controllers.contains(&controller);
        self.v1.iter().find(has).map(|h| h.mount.as_path())
    }

    /// The layout without its v1 hierarchies, as tests of v2 on a hybrid host need it.
    #[cfg(test)]
    pub(super) fn without_v1(mut self) -> Layout {
        self.v1.clear();
        self
    }

    /// The layout as it would be without v2, for tests of v1 on a hybrid host.
    #[cfg(test)]
    pub(super) fn detect_without_v2() -> Layout {
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let v1: Vec<_> = text
            .lines()
            .filter(|l| !l.contains(" - cgroup2 "))
            .collect();
        Layout::parse(&v1.join("\n"))
    }
}

/// The fields of one line of `mountinfo` that matter here.
struct Mount<'a> {
    point: PathBuf,
    fstype: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
    fn parse(line: &'a str) -> Option<Mount<'a>> {
        let (left, right) = line.split_once(" - ")?;
        let point = left.split(' ').nth(4)?;
        let mut right = right.split(' ');
        Some(Mount {
            fstype: right.next()?,
            options: right.nth(1)?,
            point: unescape(point),
        })
    }
}

/// Undoes the octal escapes that the kernel writes for space, tab, newline and backslash.
fn unescape(text: &str) -> PathBuf {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4);
        match code.and_then(|c| u8::from_str_radix(c, 8).ok()) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            None => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    PathBuf::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:3 master:1 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset,clone_children
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
38 31 0:34 / /sys/fs/cgroup/net_cls rw,relatime - cgroup cgroup rw,net_cls
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
42 31 0:31 / /mnt/again rw,relatime - cgroup cgroup rw,cpuset
";

    #[test]
    fn reads_hybrid() {
        let v2 = "41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw,relatime - cgroup2 cgroup2 rw\n";
        let layout = Layout::parse(&format!("{HYBRID}{v2}garbage\n"));
        assert_eq!(layout.mode(), Mode::Hybrid);
        assert_eq!(layout.v2(), Some(Path::new("/sys/fs/cgroup/uni fied")));
        let cpu = Some(Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(layout.v1_with("cpu"), cpu);
        assert_eq!(layout.v1_with("cpuacct"), cpu);
        assert_eq!(
            layout.v1_with("cpuset"),
            Some(Path::new("/sys/fs/cgroup/cpuset"))
        );
        assert_eq!(layout.v1_with("freezer"), None);
        assert_eq!(layout.v1().len(), 2);
    }

    #[test]
    fn reads_legacy_and_unified() {
        let legacy = Layout::parse(HYBRID);
        assert_eq!(legacy.mode(), Mode::Legacy);
        assert!(legacy.v1_with("freezer").is_some());
        let unified = Layout::parse("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        assert_eq!(unified.mode(), Mode::Unified);
        assert_eq!(Layout::parse("x - y"), Layout::default());
    }

    #[test]
    fn detects_this_host() {
        let layout = Layout::detect().unwrap();
        assert!(layout.v2().is_some() || !layout.v1().is_empty());
    }

    #[test]
    fn unescapes() {
        assert_eq!(unescape(r"/a\040b\134c\\x"), PathBuf::from("/a b\\c\\\\x"));
    }
}
