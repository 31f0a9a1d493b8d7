//! Trying system calls to see what a filter answers, in each mode that the machine has.
//!
//! Every call here is one that the kernel rejects for its arguments, if nothing rejects it
//! before: nothing happens, whoever tries it. For tests of seccomp filters.

use nix::errno::Errno;

/// The mode in which a call enters the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abi {
    /// The one of this program.
    Native,
    /// x86_64 with the numbers of x32.
    X32,
    /// i386, by `int 0x80`. Where the kernel has no 32-bit mode, the process dies of SIGSEGV.
    I386,
}

/// A call with arguments that do no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    name: &'static str,
    native: Option<libc::c_long>,
    i386: Option<u32>,
    args: [u64; 4],
}

/// A descriptor that is never open.
const NO_FD: u64 = -1i32 as u32 as u64;
/// An address that is never mapped.
const NOWHERE: u64 = 8;
/// An argument that is invalid as flags, command, type or length.
const INVALID: u64 = 0x7fff_ffff;

const fn call(name: &'static str, native: libc::c_long, i386: u32, args: [u64; 4]) -> Call {
    let (native, i386) = (Some(native), if i386 == 0 { None } else { Some(i386) });
    Call {
        name,
        native,
        i386,
        args,
    }
}

/// Calls to try. Those for sockets may succeed; the socket is closed at once.
pub const CALLS: &[Call] = &[
    call(
        "kexec_load",
        libc::SYS_kexec_load,
        283,
        [0, INVALID, NOWHERE, INVALID],
    ),
    call(
        "kexec_file_load",
        libc::SYS_kexec_file_load,
        0,
        [NO_FD, NO_FD, 0, NOWHERE],
    ),
    call(
        "init_module",
        libc::SYS_init_module,
        128,
        [NOWHERE, INVALID, NOWHERE, 0],
    ),
    call(
        "finit_module",
        libc::SYS_finit_module,
        350,
        [NO_FD, NOWHERE, INVALID, 0],
    ),
    call(
        "delete_module",
        libc::SYS_delete_module,
        129,
        [NOWHERE, 0, 0, 0],
    ),
    call(
        "open_by_handle_at",
        libc::SYS_open_by_handle_at,
        342,
        [NO_FD, NOWHERE, 0, 0],
    ),
    call("umount2", libc::SYS_umount2, 52, [NOWHERE, 0, 0, 0]),
    call("umount2 force", libc::SYS_umount2, 52, [NOWHERE, 1, 0, 0]),
    call("socket inet", libc::SYS_socket, 359, [2, 2, 0, 0]),
    call("socket alg", libc::SYS_socket, 359, [38, 5, 0, 0]),
    call("socket vsock", libc::SYS_socket, 359, [40, 1, 0, 0]),
    call(
        "socketpair vsock",
        libc::SYS_socketpair,
        360,
        [40, 1, 0, NOWHERE],
    ),
    Call {
        name: "socketcall socket",
        native: None,
        i386: Some(102),
        args: [1, NOWHERE, 0, 0],
    },
    Call {
        name: "socketcall bind",
        native: None,
        i386: Some(102),
        args: [2, NOWHERE, 0, 0],
    },
    call(
        "io_uring_setup",
        libc::SYS_io_uring_setup,
        425,
        [0, NOWHERE, 0, 0],
    ),
    call(
        "ioctl tcgets",
        libc::SYS_ioctl,
        54,
        [NO_FD, 0x5401, NOWHERE, 0],
    ),
    call(
        "ioctl tiocsti",
        libc::SYS_ioctl,
        54,
        [NO_FD, 0x5412, NOWHERE, 0],
    ),
    call(
        "ioctl tiocsti high",
        libc::SYS_ioctl,
        0,
        [NO_FD, 0xff_0000_5412, NOWHERE, 0],
    ),
    call(
        "ioctl tioclinux",
        libc::SYS_ioctl,
        54,
        [NO_FD, 0x541c, NOWHERE, 0],
    ),
    call("swapon", libc::SYS_swapon, 87, [NOWHERE, INVALID, 0, 0]),
    call("swapoff", libc::SYS_swapoff, 115, [NOWHERE, 0, 0, 0]),
    call("acct", libc::SYS_acct, 51, [NOWHERE, 0, 0, 0]),
    call(
        "syslog",
        libc::SYS_syslog,
        103,
        [INVALID, NOWHERE, INVALID, 0],
    ),
    call("bpf", libc::SYS_bpf, 357, [INVALID, NOWHERE, 0, 0]),
    call(
        "perf_event_open",
        libc::SYS_perf_event_open,
        336,
        [NOWHERE, 0, 0, 0],
    ),
    call(
        "userfaultfd",
        libc::SYS_userfaultfd,
        374,
        [INVALID, 0, 0, 0],
    ),
    call("keyctl", libc::SYS_keyctl, 288, [INVALID, 0, 0, 0]),
];

impl Call {
    /// Call and variant, such as `socket alg`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Tries it. `None`: there is no such call in this mode.
    pub fn attempt(&self, abi: Abi) -> Option<Result<(), Errno>> {
        let result = match abi {
            Abi::Native => native(self.native?, self.args),
            Abi::X32 if cfg!(target_arch = "x86_64") => {
                native(self.native? | 0x4000_0000, self.args)
            }
            Abi::X32 => return None,
            Abi::I386 => i386(self.i386?, self.args)?,
        };
        if let (Ok(fd), true) = (result, self.name.starts_with("socket ")) {
            // A socket that was opened just now and that nothing else knows.
            let _ = nix::unistd::close(fd);
        }
        Some(result.map(drop))
    }
}

/// Enters the kernel as every program does.
fn native(number: libc::c_long, args: [u64; 4]) -> Result<i32, Errno> {
    let [a, b, c, d] = args;
    // SAFETY: only reached with the calls of `CALLS`, whose pointers are never mapped and whose
    // descriptors are never open: the kernel can neither read nor write our memory through them.
    let result = unsafe { libc::syscall(number, a, b, c, d) };
    Errno::result(result).map(|r| r as i32)
}

#[cfg(target_arch = "x86_64")]
fn i386(number: u32, args: [u64; 4]) -> Option<Result<i32, Errno>> {
    let [a, b, c, d] = args.map(|arg| arg & 0xffff_ffff);
    let mut result = u64::from(number);
    // SAFETY: `int 0x80` takes the number in eax and arguments in ebx, ecx, edx and esi, returns
    // in eax and may clobber r8 to r11. rbx belongs to the compiler, so it is exchanged for the
    // duration of the call. The arguments are those of `CALLS`, as above.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {ebx}",
            "int 0x80",
            "xchg rbx, {ebx}",
            ebx = inout(reg) a => _,
            inout("rax") result,
            in("rcx") b,
            in("rdx") c,
            in("rsi") d,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
        );
    }
    let result = result as u32 as i32;
    Some(match result {
        -4095..=-1 => Err(Errno::from_raw(-result)),
        fine => Ok(fine),
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn i386(_number: u32, _args: [u64; 4]) -> Option<Result<i32, Errno>> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_no_harm() {
        for call in CALLS.iter().filter(|c| !c.name().starts_with("socket")) {
            let result = call.attempt(Abi::Native);
            assert!(result.is_none_or(|r| r.is_err()), "{}", call.name());
        }
    }
}
