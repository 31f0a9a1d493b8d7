//! What restrains init and everything that enters alike: rlimits, capabilities, seccomp, LSM label.

use std::fs::File;
use std::io::Write;

use caps::{CapSet, Capability};
use nix::fcntl::OFlag;
use osctl_linux::error::{Context, Error};
use osctl_linux::process::{Filter, install_seccomp, prlimit};
use osctl_runtime::spec::{Rlimit, Spec};

use crate::fault::{During, Fault, Outcome};
use crate::hostproc::HostProc;

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
        if error.errno() != nix::errno::Errno::EPERM {
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

/// Where the label of the next exec is written. Only the process that opens it may write to it.
pub fn open_label(proc: &HostProc) -> Outcome<File> {
    let open = |path| proc.file(path, OFlag::O_WRONLY);
    Ok(open("self/attr/apparmor/exec").or_else(|_| open("self/attr/exec"))?)
}

/// Sets the AppArmor profile of the next exec.
pub fn set_label(mut file: File, profile: &str) -> Outcome {
    Ok(file
        .write_all(format!("exec {profile}").as_bytes())
        .call(|| format!("write(attr/exec, {profile:?})"))?)
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
}
