//! What restrains init and everything that enters alike: rlimits, capabilities, seccomp, LSM label.

use std::fs::File;
use std::io::{Read, Write};

use caps::{CapSet, Capability};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use osctl_linux::error::{Context, Error};
use osctl_linux::process::{Filter, install_seccomp, prlimit};
use osctl_runtime::spec::{Rlimit, Spec};

use crate::fault::{During, Fault, Outcome};
use crate::hostproc::HostProc;

/// The longest label that is read, bytes.
const MAX_LABEL: u64 = 4096;

const RLIMITS: &[(&str, u32)] = &[
    ("as", libc::RLIMIT_AS),
    ("core", libc::RLIMIT_CORE),
    ("cpu", libc::RLIMIT_CPU),
    ("data", libc::RLIMIT_DATA),
    ("fsize", libc::RLIMIT_FSIZE),
    ("locks", libc::RLIMIT_LOCKS),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("msgqueue", libc::RLIMIT_MSGQUEUE),
    ("nice", libc::RLIMIT_NICE),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rss", libc::RLIMIT_RSS),
    ("rtprio", libc::RLIMIT_RTPRIO),
    ("rttime", libc::RLIMIT_RTTIME),
    ("sigpending", libc::RLIMIT_SIGPENDING),
    ("stack", libc::RLIMIT_STACK),
];

/// Checks what can be checked of a spec before anything is done.
pub fn check(spec: &Spec) -> Outcome {
    for limit in &spec.rlimits {
        resource(&limit.name)?;
    }
    for name in &spec.drop_capabilities {
        capability(name)?;
    }
    Ok(())
}

fn resource(name: &str) -> Outcome<u32> {
    let wanted = name.to_ascii_lowercase();
    let wanted = wanted.strip_prefix("rlimit_").unwrap_or(&wanted);
    RLIMITS
        .iter()
        .find(|(known, _)| *known == wanted)
        .map(|(_, resource)| *resource)
        .ok_or_else(|| Fault::refused(format!("unknown resource limit {name:?}")))
}

fn capability(name: &str) -> Outcome<Capability> {
    caps::to_canonical(name)
        .parse()
        .map_err(|_| Fault::refused(format!("unknown capability {name:?}")))
}

/// Sets the limits of a process (0 is the caller). What the host does not allow is lowered to what
/// it does, with a warning.
pub fn set_rlimits(pid: i32, limits: &[Rlimit], warn: &mut dyn FnMut(String)) -> Outcome {
    for limit in limits {
        let resource = resource(&limit.name)?;
        let soft = limit.soft.unwrap_or(u64::MAX);
        let hard = limit.hard.unwrap_or(u64::MAX).max(soft);
        let Err(error) = prlimit(pid, resource, Some((soft, hard))) else {
            continue;
        };
        if error.errno() != Errno::EPERM {
            return Err(error).during(|| format!("cannot set limit {}", limit.name));
        }
        let (_, allowed) = prlimit(pid, resource, None)?;
        let (soft, hard) = (soft.min(allowed), hard.min(allowed));
        prlimit(pid, resource, Some((soft, hard)))
            .during(|| format!("cannot set limit {}", limit.name))?;
        warn(format!(
            "limit {} lowered to {hard}: the host does not allow more",
            limit.name
        ));
    }
    Ok(())
}

/// Takes capabilities from the bounding set and empties the inheritable and ambient ones.
pub fn restrict_capabilities(names: &[String]) -> Outcome {
    let failed = |what: &str| {
        let call = what.to_owned();
        move |_| Fault::Call(Error::last(call))
    };
    for name in names {
        caps::drop(None, CapSet::Bounding, capability(name)?)
            .map_err(failed("prctl(PR_CAPBSET_DROP)"))?;
    }
    caps::clear(None, CapSet::Ambient).map_err(failed("prctl(PR_CAP_AMBIENT)"))?;
    caps::clear(None, CapSet::Inheritable).map_err(failed("capset(inheritable)"))
}

/// Where the label is written: that of the next exec, or of this process as it is. Only the process
/// that opens it may write to it.
pub fn open_label(proc: &HostProc, when: Labelled) -> Outcome<File> {
    let name = when.file();
    let open = |dir: &str| proc.file(&format!("self/attr/{dir}{name}"), OFlag::O_WRONLY);
    Ok(open("apparmor/").or_else(|_| open(""))?)
}

/// When a process gets its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Labelled {
    /// With the program that it executes next.
    AtExec,
    /// At once: it stays a process of the runtime.
    Now,
}

impl Labelled {
    fn file(self) -> &'static str {
        match self {
            Labelled::AtExec => "exec",
            Labelled::Now => "current",
        }
    }
}

/// Sets the AppArmor label.
pub fn set_label(mut file: File, when: Labelled, label: &str) -> Outcome {
    let verb = match when {
        Labelled::AtExec => "exec",
        Labelled::Now => "changeprofile",
    };
    let written = file.write_all(format!("{verb} {label}").as_bytes());
    Ok(written.call(|| format!("write(attr/{}, {label:?})", when.file()))?)
}

/// Makes sure that a process has the label that it was to get. One that is gone has none any more.
pub fn check_label(proc: &HostProc, pid: i32, wanted: &str) -> Outcome {
    let label = match label_of(proc, pid) {
        Ok(label) => label,
        Err(error) if matches!(error.errno(), Errno::ENOENT | Errno::ESRCH) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if is_within(wanted, &label) {
        return Ok(());
    }
    let label = label.trim_end();
    Err(Fault::refused(format!("it has {label:?}, not {wanted:?}")))
}

fn label_of(proc: &HostProc, pid: i32) -> osctl_linux::error::Result<String> {
    let open = |path: &str| proc.file(&format!("{pid}/attr/{path}"), OFlag::O_RDONLY);
    let file = open("apparmor/current").or_else(|_| open("current"))?;
    let mut label = String::new();
    file.take(MAX_LABEL)
        .read_to_string(&mut label)
        .call(|| format!("read(/proc/{pid}/attr/current)"))?;
    Ok(label)
}

/// Whether a label, as the kernel tells it, is the wanted one. In a policy namespace of its own, a
/// guest's program may have chosen another profile there.
fn is_within(wanted: &str, label: &str) -> bool {
    let label = label.trim_end();
    let label = label.split_once(" (").map_or(label, |(label, _)| label);
    match wanted.strip_suffix(":unconfined") {
        Some(namespace) => label
            .strip_prefix(namespace)
            .is_some_and(|rest| rest.starts_with(':')),
        None => label == wanted,
    }
}

/// Installs the seccomp programs.
pub fn seccomp(programs: &[Vec<u64>]) -> Outcome {
    for program in programs {
        let filters: Vec<Filter> = program
            .iter()
            .map(|number| Filter {
                code: (number >> 48) as u16,
                jt: (number >> 40) as u8,
                jf: (number >> 32) as u8,
                k: *number as u32,
            })
            .collect();
        install_seccomp(&filters)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_form() {
        assert_eq!(resource("NOFILE").unwrap(), libc::RLIMIT_NOFILE);
        assert_eq!(resource("rlimit_nproc").unwrap(), libc::RLIMIT_NPROC);
        assert!(resource("files").is_err());
        assert_eq!(
            capability("cap_sys_module").unwrap(),
            Capability::CAP_SYS_MODULE
        );
        assert!(capability("cap_fly").is_err());
    }
    #[test]
    fn labels_are_compared_whole() {
        for (wanted, label, same) in [
            ("osctl.tank.a", "osctl.tank.a (enforce)\n", true),
            ("osctl.tank.a", "osctl.tank.a\n", true),
            ("osctl.tank.a", "osctl.tank.ab (enforce)\n", false),
            ("osctl.tank.a", "unconfined\n", false),
            (
                "osctl.tank.a",
                "osctl.tank.a//&:n:unconfined (mixed)\n",
                false,
            ),
            ("a//&:n:unconfined", "a//&:n:unconfined (mixed)\n", true),
            (
                "a//&:n:unconfined",
                "a//&:n:docker-default (enforce)\n",
                true,
            ),
            ("a//&:n:unconfined", "a//&:no:unconfined (mixed)\n", false),
            ("a//&:n:unconfined", "a (enforce)\n", false),
            ("a//&:n:unconfined", "unconfined\n", false),
            ("a", "", false),
        ] {
            assert_eq!(is_within(wanted, label), same, "{wanted} {label}");
        }
    }
}
