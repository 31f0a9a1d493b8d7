//! Making, entering and replacing processes: clone3, setns, exec, and what a process is about itself.
//! Not: which namespaces, limits or filters to use.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::CloneFlags;

use crate::error::{Context, Error, Result};

const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const CLONE_NEWTIME: libc::c_int = 0x80;
const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 4;

/// Witness that the process had a single thread when asked.
///
/// Only such a process may be cloned and go on with arbitrary code in the child. Whoever holds this
/// must not start threads.
#[derive(Debug)]
pub struct SingleThread(());

impl SingleThread {
    /// EBUSY when there are more threads than the caller.
    pub fn check() -> Result<Self> {
        let call = "stat(\"/proc/self/task\")";
        let stat = nix::sys::stat::stat("/proc/self/task").call(|| call)?;
        // A directory of proc has a link for itself, one for "." and one for each thread.
        if stat.st_nlink == 3 {
            Ok(SingleThread(()))
        } else {
            Err(Error::new(call, Errno::EBUSY))
        }
    }
}

/// A new process.
#[derive(Debug)]
pub struct Child {
    /// Its id in the caller's pid namespace.
    pub pid: i32,
    /// Its pidfd, close-on-exec.
    pub pidfd: OwnedFd,
}

/// Where clone3 returned.
#[derive(Debug)]
pub enum Cloned {
    /// In the caller.
    Parent(Child),
    /// In the new process.
    Child,
}

/// Whose child the new process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// The caller's; SIGCHLD at its end.
    Caller,
    /// That of the caller's parent (CLONE_PARENT); same signal as for the caller.
    Grandparent,
}

/// clone3 with a copy of the address space, like fork, in new namespaces and in a v2 cgroup.
pub fn clone3(
    _witness: &SingleThread,
    namespaces: CloneFlags,
    parent: Parent,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<Cloned> {
    let mut pidfd: libc::c_int = -1;
    let mut flags = CLONE_PIDFD | u64::from(namespaces.bits() as u32);
    if parent == Parent::Grandparent {
        flags |= libc::CLONE_PARENT as u64;
    }
    if cgroup.is_some() {
        flags |= CLONE_INTO_CGROUP;
    }
    // SAFETY: all-zero is a valid clone_args.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = match parent {
        Parent::Caller => libc::SIGCHLD as u64,
        Parent::Grandparent => 0,
    };
    args.cgroup = cgroup.map_or(0, |fd| fd.as_raw_fd() as u64);
    // SAFETY: without CLONE_VM and with no stack given this is fork: the child has a copy of all
    // memory, and as the only thread of the caller it finds no lock held by somebody else.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            std::mem::size_of::<libc::clone_args>(),
        )
    };
    match pid {
        -1 => Err(Error::last(format!("clone3({flags:#x})"))),
        0 => Ok(Cloned::Child),
        pid => Ok(Cloned::Parent(Child {
            pid: pid as i32,
            // SAFETY: on success the kernel stored a new descriptor of ours there.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        })),
    }
}

/// Runs `make` with the given effective user id, which owns the user namespaces that are made
/// meanwhile and has every capability in those it owns; the caller's capabilities stay. The process and its
/// children are undumpable from then on.
///
/// What the kernel counts per user (inotify instances, queued signals, locked memory, namespaces)
/// counts in the parent of a user namespace for its owner.
pub fn as_owner<T, E: From<Error>>(
    uid: u32,
    make: impl FnOnce() -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    use nix::unistd::Uid;
    let change = |to| {
        let keep = Uid::from_raw(libc::uid_t::MAX);
        nix::unistd::setresuid(keep, to, keep).call(|| format!("setresuid(-1, {to}, -1)"))?;
        // Which the kernel forgets now.
        set_undumpable()
    };
    let caller = (nix::unistd::getpid(), nix::unistd::geteuid());
    let bits = Securebits::keep_capabilities()?;
    change(Uid::from_raw(uid))?;
    let made = make();
    // A new process in a user namespace of its own has no ids to change to yet.
    if nix::unistd::getpid() != caller.0 {
        std::mem::forget(bits);
        return made;
    }
    change(caller.1)?;
    drop(bits);
    made
}

/// Puts the secure bits back.
#[derive(Debug)]
struct Securebits(libc::c_int);

impl Securebits {
    /// Changes of user ids leave capabilities alone for as long as this lives.
    fn keep_capabilities() -> Result<Self> {
        const NO_SETUID_FIXUP: libc::c_int = 1 << 2;
        // SAFETY: takes and gives no pointers.
        let bits = unsafe { libc::prctl(libc::PR_GET_SECUREBITS) };
        if bits < 0 {
            return Err(Error::last("prctl(PR_GET_SECUREBITS)"));
        }
        Self::set(bits | NO_SETUID_FIXUP)?;
        Ok(Securebits(bits))
    }

    fn set(bits: libc::c_int) -> Result<()> {
        // SAFETY: takes no pointers.
        match unsafe { libc::prctl(libc::PR_SET_SECUREBITS, bits) } {
            0 => Ok(()),
            _ => Err(Error::last("prctl(PR_SET_SECUREBITS)")),
        }
    }
}

impl Drop for Securebits {
    fn drop(&mut self) {
        // What was allowed one way is allowed back.
        let _ = Self::set(self.0);
    }
}

/// The user id, as the caller sees it, that owns a user namespace.
pub fn namespace_owner(userns: BorrowedFd<'_>) -> Result<u32> {
    const NS_GET_OWNER_UID: libc::Ioctl = 0xb704;
    let mut uid: libc::uid_t = 0;
    // SAFETY: the id outlives the call.
    match unsafe { libc::ioctl(userns.as_raw_fd(), NS_GET_OWNER_UID, &raw mut uid) } {
        0 => Ok(uid),
        _ => Err(Error::last("ioctl(NS_GET_OWNER_UID)")),
    }
}

/// Joins namespaces of the process behind a pidfd, all at once.
pub fn setns(pidfd: BorrowedFd<'_>, namespaces: CloneFlags) -> Result<()> {
    nix::sched::setns(pidfd, namespaces).call(|| format!("setns(pidfd, {namespaces:?})"))
}

/// Children of the caller will be in a new time namespace owned by the caller's user namespace.
pub fn unshare_time() -> Result<()> {
    nix::sched::unshare(CloneFlags::from_bits_retain(CLONE_NEWTIME)).call(|| "unshare(NEWTIME)")
}

/// A pidfd of a process, close-on-exec.
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(Error::last(format!("pidfd_open({pid})")));
    }
    // SAFETY: just made, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Sends a signal to the process behind a pidfd.
pub fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    pidfd_send(pidfd, signal, 0)
}

/// Sends a signal to the process group that the process behind a pidfd leads.
pub fn pidfd_signal_group(pidfd: BorrowedFd<'_>, pid: i32, signal: i32) -> Result<()> {
    match pidfd_send(pidfd, signal, PIDFD_SIGNAL_PROCESS_GROUP) {
        // The flag is as new as Linux 6.9.
        Err(error) if error.errno() == Errno::EINVAL && pid > 1 => {
            // SAFETY: takes no pointers.
            match unsafe { libc::kill(-pid, signal) } {
                0 => Ok(()),
                _ => Err(Error::last(format!("kill(-{pid}, {signal})"))),
            }
        }
        other => other,
    }
}

fn pidfd_send(pidfd: BorrowedFd<'_>, signal: i32, flags: libc::c_uint) -> Result<()> {
    // SAFETY: the descriptor is borrowed for the call, siginfo may be null.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            flags,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(Error::last(format!("pidfd_send_signal({signal})"))),
    }
}

/// Ends the process at once: no destructors, no flushing.
pub fn exit(status: i32) -> ! {
    // SAFETY: does not return and touches no memory.
    unsafe { libc::_exit(status) }
}

/// execve; returns only on failure.
pub fn exec(path: &CStr, argv: &[CString], env: &[CString]) -> Error {
    let errno = match nix::unistd::execve(path, argv, env) {
        Err(errno) => errno,
        Ok(never) => match never {},
    };
    Error::new(format!("execve({path:?})"), errno)
}

/// Execs what a descriptor refers to; returns only on failure.
pub fn exec_fd(fd: BorrowedFd<'_>, argv: &[CString], env: &[CString]) -> Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        let ends = std::iter::once(std::ptr::null());
        list.iter().map(|s| s.as_ptr()).chain(ends).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both lists end in null and outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Error::last("execveat(fd)")
}

/// PR_SET_DUMPABLE 0: the process can be neither traced nor looked into from a container.
pub fn set_undumpable() -> Result<()> {
    nix::sys::prctl::set_dumpable(false).call(|| "prctl(PR_SET_DUMPABLE, 0)")
}

/// The process is killed when its parent ends.
pub fn die_with_parent() -> Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .call(|| "prctl(PR_SET_PDEATHSIG)")
}

/// Default action for every signal, none blocked: what a program expects at its start.
pub fn reset_signals() -> Result<()> {
    // The kernel's struct sigaction is no larger than this anywhere; all zero is the default action.
    let default = [0_u64; 8];
    for signal in 1..=64 {
        // Not by libc, which refuses the two signals it keeps for itself: they may be ignored too.
        // SAFETY: the structure outlives the call and installs no handler. SIGKILL and SIGSTOP are
        // refused, harmlessly.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                8,
            )
        };
    }
    nix::sys::signal::SigSet::empty()
        .thread_set_mask()
        .call(|| "sigprocmask")
}

/// One classic BPF instruction, `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Filter {
    /// Opcode.
    pub code: u16,
    /// Jump if true.
    pub jt: u8,
    /// Jump if false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Installs a seccomp filter; needs CAP_SYS_ADMIN in the user namespace. Does not set no_new_privs.
pub fn install_seccomp(program: &[Filter]) -> Result<()> {
    let length = u16::try_from(program.len())
        .map_err(|_| Error::new("seccomp(program too long)", Errno::EINVAL))?;
    #[repr(C)]
    struct Program {
        length: u16,
        filter: *const Filter,
    }
    let program = Program {
        length,
        filter: program.as_ptr(),
    };
    // SAFETY: laid out as struct sock_fprog, points to `length` instructions alive during the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(Error::last(format!(
            "seccomp(SECCOMP_SET_MODE_FILTER, {length} instructions)"
        ))),
    }
}

/// Limits of a resource of a process as (soft, hard), and sets new ones. `RLIM_INFINITY` is u64::MAX.
pub fn prlimit(pid: i32, resource: u32, new: Option<(u64, u64)>) -> Result<(u64, u64)> {
    let new = new.map(|(soft, hard)| libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    });
    let mut old = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let new = new.as_ref().map_or(std::ptr::null(), |new| &raw const *new);
    // SAFETY: both structures outlive the call; a null `new` only asks.
    match unsafe { libc::prlimit64(pid, resource as _, new, &raw mut old) } {
        0 => Ok((old.rlim_cur, old.rlim_max)),
        _ => Err(Error::last(format!("prlimit({pid}, {resource})"))),
    }
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
}

/// Reaps one ended child, whichever it is, without waiting.
pub fn reap() -> Result<Option<(i32, Ended)>> {
    loop {
        let mut status = 0;
        // nix cannot name real-time signals and would lose who was ended by one.
        // SAFETY: the status outlives the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        let ended = match Errno::result(pid) {
            Ok(0) | Err(Errno::ECHILD) => return Ok(None),
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(Error::new("waitpid", errno)),
            Ok(_) if libc::WIFEXITED(status) => Ended::Exited(libc::WEXITSTATUS(status)),
            Ok(_) if libc::WIFSIGNALED(status) => Ended::Signaled(libc::WTERMSIG(status)),
            Ok(_) => continue,
        };
        return Ok(Some((pid, ended)));
    }
}

/// Brings up an interface of the caller's network namespace, e.g. `lo`.
pub fn link_up(name: &str) -> Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let call = || format!("ioctl(SIOCSIFFLAGS, {name:?})");
    let socket = socket(
        AddressFamily::Unix,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .call(|| "socket(AF_UNIX)")?;
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(Error::new(call(), Errno::ENAMETOOLONG));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: the request is a complete ifreq and outlives the call.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } {
        0 => Ok(()),
        _ => Err(Error::last(call())),
    }
}

/// Sets the NIS domain name of the caller's UTS namespace.
pub fn set_domainname(name: &str) -> Result<()> {
    // SAFETY: pointer and length describe `name`.
    match unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) } {
        0 => Ok(()),
        _ => Err(Error::last(format!("setdomainname({name:?})"))),
    }
}

/// Leaves the session keyring of whoever started the process for a new, empty one.
///
/// It would be inherited into every container otherwise. A kernel without keyrings is fine.
pub fn new_session_keyring() -> Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    let result = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    };
    match Errno::result(result) {
        Ok(_) | Err(Errno::ENOSYS) => Ok(()),
        Err(errno) => Err(Error::new("keyctl(KEYCTL_JOIN_SESSION_KEYRING)", errno)),
    }
}

/// Gives memory that was freed back to the system.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: only touches memory that the allocator holds as free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Keeps the heap of a program with many short-lived threads small: at most two arenas, and what
/// is large is given back as soon as it is freed. To be called before the first thread is made.
pub fn bound_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: only sets parameters of the allocator, whose values are within their documented
    // ranges, see mallopt(3).
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 * 1024);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 256 * 1024);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_has_the_kernels_layout() {
        assert_eq!(std::mem::size_of::<Filter>(), 8);
        assert_eq!(std::mem::align_of::<Filter>(), 4);
    }

    #[test]
    fn a_test_process_is_not_single_threaded() {
        // The test harness runs tests in threads of their own.
        assert_eq!(SingleThread::check().unwrap_err().errno(), Errno::EBUSY);
    }

    #[test]
    fn prlimit_reads() {
        let (soft, hard) = prlimit(0, libc::RLIMIT_NOFILE, None).unwrap();
        assert!(soft <= hard);
    }
}
