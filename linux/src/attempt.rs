//! What nobody here needs, but a hostile guest tries: system calls that must be refused.
//!
//! Only for the tests' own program. Each attempt is harmless where it is not refused.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use libc::c_long;

use crate::error::{Error, Result};

/// System calls that fail for want of arguments where they are allowed.
pub const CALLS: &[(&str, c_long)] = &[
    ("kexec_load", libc::SYS_kexec_load),
    ("kexec_file_load", libc::SYS_kexec_file_load),
    ("init_module", libc::SYS_init_module),
    ("finit_module", libc::SYS_finit_module),
    ("delete_module", libc::SYS_delete_module),
    ("open_by_handle_at", libc::SYS_open_by_handle_at),
    ("swapon", libc::SYS_swapon),
    ("swapoff", libc::SYS_swapoff),
    ("bpf", libc::SYS_bpf),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("userfaultfd", libc::SYS_userfaultfd),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("quotactl", libc::SYS_quotactl),
    ("syslog", libc::SYS_syslog),
];

fn outcome(call: &str, result: c_long) -> Result<c_long> {
    if result < 0 {
        return Err(Error::last(call.to_owned()));
    }
    Ok(result)
}

/// Makes one of [`CALLS`] with arguments that no kernel accepts.
///
/// # Errors
/// What the kernel answers; anything else means that it was done.
pub fn call(name: &str) -> Result<()> {
    let Some((_, number)) = CALLS.iter().find(|(n, _)| *n == name) else {
        return Err(Error::new(name.to_owned(), nix::errno::Errno::ENOSYS));
    };
    // syslog(3, NULL, 0) reads nothing; all others fail on these arguments.
    let first: c_long = if *number == libc::SYS_syslog { 10 } else { -1 };
    // SAFETY: no argument is a valid pointer or descriptor, so the kernel touches no memory of ours.
    let result = unsafe { libc::syscall(*number, first, 0, 0, 0, -1, 0) };
    outcome(name, result).map(drop)
}

/// A raw socket of an interface: what is sent on it goes out as it is, and what the interface sends
/// and receives can be read from it.
///
/// # Errors
/// What the kernel answers.
pub fn packet_socket(index: u32) -> Result<OwnedFd> {
    let every = (libc::ETH_P_ALL as u16).to_be();
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers are involved.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    outcome("socket(AF_PACKET)", fd.into())?;
    // SAFETY: the descriptor is new and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: every,
        sll_ifindex: i32::try_from(index).unwrap_or(0),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address outlives the call, and its length is its own.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    outcome("bind", bound.into()).map(|_| socket)
}

/// Types a byte into a terminal as if its owner had (TIOCSTI, ioctl_tty(2)).
///
/// # Errors
/// What the kernel answers.
pub fn type_into(terminal: impl AsFd, byte: u8) -> Result<()> {
    let raw = terminal.as_fd().as_raw_fd();
    // SAFETY: the argument is a byte that outlives the call.
    let result = unsafe { libc::ioctl(raw, libc::TIOCSTI, &raw const byte) };
    outcome("ioctl(TIOCSTI)", result.into()).map(drop)
}

/// Asks a console to paste its selection (TIOCLINUX, ioctl_console(2)).
///
/// # Errors
/// What the kernel answers.
pub fn paste_into(terminal: impl AsFd) -> Result<()> {
    let raw = terminal.as_fd().as_raw_fd();
    let subcode: [u8; 16] = [3; 16];
    // SAFETY: subcode 3 pastes and reads one byte of an array that outlives the call.
    let result = unsafe { libc::ioctl(raw, libc::TIOCLINUX, subcode.as_ptr()) };
    outcome("ioctl(TIOCLINUX)", result.into()).map(drop)
}

#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    data: [u8; 128],
}

/// A handle of a file, to be forged; see name_to_handle_at(2).
#[derive(Debug, Clone)]
pub struct FileHandle {
    /// Type of the handle.
    pub kind: i32,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// The handle of `path`.
///
/// # Errors
/// What the kernel answers.
pub fn handle_of(path: &str) -> Result<FileHandle> {
    let text = CString::new(path).unwrap_or_default();
    let mut handle = Handle {
        bytes: 128,
        kind: 0,
        data: [0; 128],
    };
    let mut mount: libc::c_int = 0;
    // SAFETY: the string, the handle (whose size it says) and the int outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            text.as_ptr(),
            &raw mut handle,
            &raw mut mount,
            0,
        )
    };
    outcome("name_to_handle_at", result)?;
    let used = usize::try_from(handle.bytes).unwrap_or(0).min(128);
    Ok(FileHandle {
        kind: handle.kind,
        data: handle.data[..used].to_vec(),
    })
}

/// Opens a file by its handle, on the file system that `on` is of.
///
/// # Errors
/// What the kernel answers.
pub fn open_handle(on: impl AsFd, forged: &FileHandle) -> Result<OwnedFd> {
    let mut handle = Handle {
        bytes: 0,
        kind: forged.kind,
        data: [0; 128],
    };
    let used = forged.data.len().min(128);
    handle.data[..used].copy_from_slice(&forged.data[..used]);
    handle.bytes = u32::try_from(used).unwrap_or(0);
    let raw = on.as_fd().as_raw_fd();
    // SAFETY: the handle outlives the call and says its size.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            raw,
            &raw mut handle,
            libc::O_RDONLY | libc::O_CLOEXEC,
        )
    };
    let fd = i32::try_from(outcome("open_by_handle_at", fd)?).unwrap_or(-1);
    // SAFETY: just opened, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a system call as a 32-bit program does; the kernel's answer, negative errno on failure.
///
/// Only calls whose arguments are numbers make sense here.
#[cfg(target_arch = "x86_64")]
pub fn i386_call(number: Compat) -> i32 {
    let (eax, ebx, ecx, edx) = match number {
        Compat::Getpid => (20, 0, 0, 0),
        Compat::Socket { family } => (359, family, 5, 0),
        Compat::KexecLoad => (283, 0, 0, 0),
        Compat::InitModule => (128, 0, 0, 0),
        Compat::OpenByHandle => (342, -1, 0, 0),
    };
    let result: i32;
    // SAFETY: none of these calls is given a pointer; `rbx` is saved around, as LLVM keeps it.
    unsafe {
        std::arch::asm!(
            "push rbx",
            "mov ebx, {ebx:e}",
            "int 0x80",
            "pop rbx",
            ebx = in(reg) ebx,
            inlateout("eax") eax => result,
            in("ecx") ecx,
            in("edx") edx,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    result
}

/// Calls for [`i386_call`].
#[derive(Debug, Clone, Copy)]
pub enum Compat {
    /// getpid(2)
    Getpid,
    /// socket(2) of type SOCK_SEQPACKET
    Socket {
        /// Address family.
        family: i32,
    },
    /// kexec_load(2)
    KexecLoad,
    /// init_module(2)
    InitModule,
    /// open_by_handle_at(2)
    OpenByHandle,
}
