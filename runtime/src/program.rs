//! The last moments before a guest program runs, and finding it.

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use osctl_linux::error::Context;
use osctl_linux::fds;
use osctl_linux::process::{self, exec, exec_fd};

use crate::fault::{Fault, Outcome};

/// The search path of a program whose environment has none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program with its arguments and environment, as the kernel takes them.
#[derive(Debug)]
pub struct Program {
    argv: Vec<CString>,
    env: Vec<CString>,
    search: String,
}

impl Program {
    /// Later entries of `env` win over earlier ones of the same name.
    pub fn new(argv: &[String], env: &[(&str, &str)]) -> Outcome<Self> {
        if argv.first().is_none_or(String::is_empty) {
            return Err(Fault::refused("no program given"));
        }
        let mut unique: Vec<(&str, &str)> = Vec::with_capacity(env.len());
        for (name, value) in env {
            if name.is_empty() || name.contains('=') {
                return Err(Fault::refused(format!("bad variable name {name:?}")));
            }
            match unique.iter_mut().find(|(known, _)| known == name) {
                Some(entry) => entry.1 = value,
                None => unique.push((name, value)),
            }
        }
        let path = unique.iter().find(|(name, _)| *name == "PATH");
        let search = path.map_or(DEFAULT_PATH, |(_, value)| value).to_owned();
        Ok(Program {
            argv: argv.iter().map(|a| c_string(a)).collect::<Outcome<_>>()?,
            env: unique
                .iter()
                .map(|(name, value)| c_string(&format!("{name}={value}")))
                .collect::<Outcome<_>>()?,
            search,
        })
    }

    /// Replaces the process; returns only on failure, with the exit code that shells use.
    pub fn run(&self) -> (i32, Fault) {
        let name = self.argv[0].to_string_lossy().into_owned();
        if name.contains('/') {
            return verdict(exec(&self.argv[0], &self.argv, &self.env).into());
        }
        let mut denied = None;
        for directory in self.search.split(':').filter(|d| d.starts_with('/')) {
            let Ok(path) = c_string(&format!("{directory}/{name}")) else {
                continue;
            };
            let fault = exec(&path, &self.argv, &self.env);
            match fault.errno() {
                Errno::ENOENT | Errno::ENOTDIR => {}
                _ => denied = denied.or(Some(fault)),
            }
        }
        match denied {
            Some(fault) => verdict(fault.into()),
            None => (127, Fault::refused(format!("{name}: not found in PATH"))),
        }
    }

    /// Replaces the process by the program or script behind a descriptor that stays open over exec.
    ///
    /// A script without `#!` is run by the guest's shell, as execvp(3) does.
    pub fn run_fd(&self, fd: BorrowedFd<'_>) -> (i32, Fault) {
        let fault = exec_fd(fd, &self.argv, &self.env);
        if fault.errno() != Errno::ENOEXEC {
            return verdict(fault.into());
        }
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let Ok(path) = c_string(&path) else {
            return verdict(fault.into());
        };
        let mut argv = vec![c"sh".to_owned(), path];
        argv.extend(self.argv.iter().skip(1).cloned());
        verdict(exec(c"/bin/sh", &argv, &self.env).into())
    }
}

fn verdict(fault: Fault) -> (i32, Fault) {
    match fault.errno() {
        Some(Errno::ENOENT | Errno::ENOTDIR) => (127, fault),
        _ => (126, fault),
    }
}

fn c_string(text: &str) -> Outcome<CString> {
    CString::new(text).map_err(|_| Fault::refused(format!("NUL byte in {text:?}")))
}

/// Becomes the container's root, or another of its users, and dies with the supervisor from then on.
///
/// Changing credentials makes the kernel forget the death signal and the dumpable flag: both are
/// set here again.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Outcome {
    let groups: Vec<Gid> = groups.iter().map(|g| Gid::from_raw(*g)).collect();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setgroups(&groups).call(|| format!("setgroups({groups:?})"))?;
    setresgid(gid, gid, gid).call(|| format!("setresgid({gid})"))?;
    setresuid(uid, uid, uid).call(|| format!("setresuid({uid})"))?;
    process::set_undumpable()?;
    process::die_with_parent()?;
    Ok(())
}

/// Makes `stdio` the descriptors 0, 1, 2, … and lets no other survive exec; default signals and umask.
pub fn settle(stdio: &[BorrowedFd<'_>]) -> Outcome {
    fds::install_fds(stdio)?;
    fds::cloexec_from(stdio.len() as u32)?;
    process::reset_signals()?;
    umask(Mode::from_bits_truncate(0o022));
    Ok(())
}

/// Enters a directory of the guest as the user that runs, through nothing but real directories and
/// the guest's own symlinks: `/proc/self/fd/N` leads nowhere.
pub fn enter_directory(path: &Path) -> Outcome {
    use nix::fcntl::OFlag;
    use osctl_linux::beneath::{Mounts, Root, Symlinks};
    let root = Root::open_tree("/", Symlinks::InRoot, Mounts::Cross)?;
    let directory = root.open(path, OFlag::O_PATH | OFlag::O_DIRECTORY, 0)?;
    Ok(nix::unistd::fchdir(&directory).call(|| format!("fchdir({path:?})"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_variables_win() {
        let argv = ["sh".to_owned()];
        let program = Program::new(&argv, &[("A", "1"), ("PATH", "/x"), ("A", "2")]).unwrap();
        assert_eq!(program.env, [c"A=2".to_owned(), c"PATH=/x".to_owned()]);
        assert_eq!(program.search, "/x");
    }

    #[test]
    fn bad_words_are_refused() {
        assert!(Program::new(&[], &[]).is_err());
        assert!(Program::new(&["a\0b".to_owned()], &[]).is_err());
        assert!(Program::new(&["a".to_owned()], &[("A=B", "c")]).is_err());
        assert!(Program::new(&["a".to_owned()], &[("A", "c\0")]).is_err());
    }
}
