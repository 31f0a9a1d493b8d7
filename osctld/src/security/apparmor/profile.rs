//! The profile of a container: its text and its names. Pure.
//!
//! What a container's root may do is decided by its namespaces. The profile is a second barrier,
//! for a process that has got past the first: it allows what an operating system needs, all of its
//! own files among it, and refuses what belongs to the host.

use super::glob::{all_but, matches, no_word_of};
use crate::security::capabilities;

/// Parameters of the kernel that each container has for itself, below /proc/sys.
const OWN_PARAMETERS: &[&str] = &[
    "fs/binfmt_misc",
    "fs/mqueue",
    "kernel/auto_msgmni",
    "kernel/domainname",
    "kernel/hostname",
    "kernel/msg*",
    "kernel/ns_last_pid",
    "kernel/pid_max",
    "kernel/sem*",
    "kernel/shm*",
    "net",
    "user",
];

/// What a container may write below /proc besides, processes aside.
const OWN_PROC: &[&str] = &["pressure", "sys"];

/// What it may write below /sys.
const OWN_SYS: &[&str] = &["class/net", "devices/virtual/net", "fs/cgroup", "fs/fuse"];

/// The interface to the policy of its own namespace.
const OWN_POLICY: &str = "kernel/security/apparmor";

/// File systems that can be mounted by containers and hold nothing of the host.
const OWN_FILE_SYSTEMS: &[&str] = &[
    "binfmt_misc",
    "cgroup",
    "cgroup2",
    "devpts",
    "fuse",
    "fuse.*",
    "fuseblk",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "overlay",
    "ramfs",
    "tmpfs",
    "zfs",
];

/// What hides files of the host.
const MASKS: &str = "/proc/{kallsyms,kcore,kmsg,kpagecgroup,kpagecount,kpageflags,keys,key-users,\
    slabinfo,timer_list,vmallocinfo}";

/// Where a container that others run in has what hides nothing, only to be there.
const UNMASKED: &str = "/dev/.osctl";

/// Whether containers are run within a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nesting {
    /// They are: it has a policy namespace of its own.
    Yes,
    /// They are not.
    No,
}

/// What a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Access to a file.
    File,
    /// Mounting a type of file system.
    FileSystem,
    /// Mounting what is somewhere else.
    Bind,
    /// Unmounting.
    Umount,
}

/// Something that is refused, and noted when it is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deny {
    class: Class,
    pattern: String,
}

impl Deny {
    fn new(class: Class, pattern: impl Into<String>) -> Deny {
        Deny {
            class,
            pattern: pattern.into(),
        }
    }

    /// The rule as it stands in the profile.
    pub fn text(&self) -> String {
        let pattern = &self.pattern;
        match self.class {
            Class::File if is_hidden(pattern) => format!("audit deny {pattern} rwl,"),
            Class::File => format!("audit deny {pattern} wl,"),
            Class::FileSystem => format!("audit deny mount fstype={pattern},"),
            Class::Bind => format!("audit deny mount {pattern} -> /**,"),
            Class::Umount => format!("audit deny umount {pattern},"),
        }
    }

    /// Whether it refuses this.
    pub fn is_about(&self, class: Class, what: &str) -> bool {
        self.class == class && matches(&self.pattern, what)
    }
}

fn is_hidden(pattern: &str) -> bool {
    pattern.starts_with(UNMASKED) || pattern.starts_with("/dev/{")
}

/// All that is refused and noted.
pub fn denials(nesting: Nesting) -> Vec<Deny> {
    let mut sys = [OWN_SYS, OWN_PARAMETERS].concat();
    if nesting == Nesting::Yes {
        sys.push(OWN_POLICY);
    }
    let mut files = all_but("/proc/", OWN_PROC, "0-9");
    files.extend(all_but("/proc/sys/", OWN_PARAMETERS, ""));
    // Parameters among them: a procfs that is mounted nowhere has its paths begin with a slash, and
    // that is how runtimes of containers set them.
    files.extend(all_but("/sys/", &sys, ""));
    files.push("/{,**/}release_agent".to_owned());
    files.push("/dev/{kmem,mem,port}".to_owned());
    let mut all: Vec<Deny> = Vec::new();
    all.extend(files.into_iter().map(|p| Deny::new(Class::File, p)));
    match nesting {
        Nesting::Yes => {
            let inside = format!("{UNMASKED}/*/**");
            all.push(Deny::new(Class::File, inside));
            let any = format!("{UNMASKED}/**");
            all.push(Deny::new(Class::Bind, any.clone()));
            all.push(Deny::new(Class::Umount, any));
        }
        Nesting::No => {
            let others = no_word_of(OWN_FILE_SYSTEMS);
            all.extend(others.into_iter().map(|p| Deny::new(Class::FileSystem, p)));
            all.push(Deny::new(Class::Umount, MASKS));
        }
    }
    all
}

/// The name of the profile, and of the policy namespace, of container `pool:id`; `root` tells apart
/// the daemons of a host.
pub fn name(root: &str, pool: &str, id: &str) -> String {
    format!("{root}.{pool}.{id}")
}

/// What all names of a pool's profiles begin with, and no others.
pub fn prefix(root: &str, pool: &str) -> String {
    format!("{root}.{pool}.")
}

/// The label of the container's processes.
pub fn label(name: &str, nesting: Nesting) -> String {
    match nesting {
        Nesting::No => name.to_owned(),
        Nesting::Yes => format!("{name}//&:{name}:unconfined"),
    }
}

/// The text of the profile.
pub fn text(name: &str, nesting: Nesting) -> String {
    let mut lines = vec![
        "  capability,".to_owned(),
        "  file,".to_owned(),
        "  mount,".to_owned(),
        "  umount,".to_owned(),
        "  pivot_root,".to_owned(),
        // From whom is the sender's business.
        "  signal (receive),".to_owned(),
        format!("  signal (send) peer=\"{name}\","),
        "  ptrace (readby, tracedby),".to_owned(),
        format!("  ptrace (read, trace) peer=\"{name}\","),
    ];
    if nesting == Nesting::Yes {
        lines.push(format!("  change_profile -> \":{name}:**\","));
    }
    for capability in dropped(nesting) {
        let capability = capability.trim_start_matches("cap_");
        lines.push(format!("  deny capability {capability},"));
    }
    lines.extend(denials(nesting).iter().map(|d| format!("  {}", d.text())));
    format!(
        "profile \"{name}\" flags=(attach_disconnected,mediate_deleted) {{\n{}\n}}\n",
        lines.join("\n")
    )
}

/// Capabilities that nothing in a container has. In a policy namespace of its own, its root loads
/// profiles.
pub fn dropped(nesting: Nesting) -> Vec<String> {
    let mut names = capabilities::dropped();
    if nesting == Nesting::Yes {
        names.retain(|name| name != "cap_mac_admin");
    }
    names
}

#[cfg(test)]
#[path = "profile_tests.rs"]
mod tests;
