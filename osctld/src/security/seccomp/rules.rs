//! What the built-in profile denies, and why.
//!
//! A guest is a full system with containers of its own in it, so everything is allowed that is
//! not listed: mounts, namespaces, pivot_root, keyctl, ptrace, seccomp, clone3 …, which the
//! kernel confines to the guest's user namespace. Not listed either is what needs a capability
//! on the host and so fails by itself: settimeofday, clock_settime, adjtimex, vhangup.

/// System call numbers per architecture, `None` where there is no such call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub x86_64: Option<u32>,
    pub i386: Option<u32>,
    pub aarch64: Option<u32>,
    pub arm: Option<u32>,
}

/// When a call is denied. Arguments are compared by their lower 32 bits: all that are named here
/// are 32 bits wide in the kernel, whatever the caller leaves in the upper half.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    Always,
    /// Any of these bits is set in the argument.
    Bits(u8, u32),
    /// The argument is one of these.
    OneOf(u8, &'static [u32]),
    /// The argument is none of these.
    NoneOf(u8, &'static [u32]),
}

/// One denied call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub name: &'static str,
    pub numbers: Numbers,
    pub when: When,
    pub errno: u16,
}

pub(super) const EPERM: u16 = 1;
pub(super) const EACCES: u16 = 13;
pub(super) const ENOSYS: u16 = 38;
pub(super) const EAFNOSUPPORT: u16 = 97;

const MNT_FORCE: u32 = 1;
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;

/// Calls of `socketcall(2)` that make sockets.
const SYS_SOCKET: u32 = 1;
const SYS_SOCKETPAIR: u32 = 8;

/// Families of sockets that guests use: unix, inet, inet6, key (IPsec), netlink, packet, pppox.
/// All others are rarely needed, often vulnerable, and loaded as a module on first use: alg
/// (writes to page caches of files that may only be read), vsock (talks to the hypervisor), rds,
/// tipc, smc, xdp, can, x25, ax25, rxrpc, nfc, … The answer is that of a kernel without them.
const FAMILIES: &[u32] = &[1, 2, 10, 15, 16, 17, 24];

/// Numbers in the order x86_64, i386, aarch64, arm; 0 is "none" (the calls that have number 0
/// are harmless).
const fn numbers(x86_64: u32, i386: u32, aarch64: u32, arm: u32) -> Numbers {
    const fn some(number: u32) -> Option<u32> {
        if number == 0 { None } else { Some(number) }
    }
    Numbers {
        x86_64: some(x86_64),
        i386: some(i386),
        aarch64: some(aarch64),
        arm: some(arm),
    }
}

const fn rule(name: &'static str, numbers: Numbers, when: When, errno: u16) -> Rule {
    Rule {
        name,
        numbers,
        when,
        errno,
    }
}

const fn deny(name: &'static str, numbers: Numbers) -> Rule {
    rule(name, numbers, When::Always, EPERM)
}

/// The built-in profile.
pub(super) const RULES: &[Rule] = &[
    // Replacing the running kernel, or adding to it.
    deny("kexec_load", numbers(246, 283, 104, 347)),
    deny("kexec_file_load", numbers(320, 0, 294, 401)),
    deny("init_module", numbers(175, 128, 105, 128)),
    deny("finit_module", numbers(313, 350, 273, 379)),
    deny("delete_module", numbers(176, 129, 106, 129)),
    // Opens any file of a file system by its number, from outside of the visible tree.
    deny("open_by_handle_at", numbers(304, 342, 265, 371)),
    // Aborts the requests of others to a shared network file system.
    rule(
        "umount2",
        numbers(166, 52, 39, 52),
        When::Bits(1, MNT_FORCE),
        EACCES,
    ),
    rule(
        "socket",
        numbers(41, 359, 198, 281),
        When::NoneOf(0, FAMILIES),
        EAFNOSUPPORT,
    ),
    rule(
        "socketpair",
        numbers(53, 360, 199, 288),
        When::NoneOf(0, FAMILIES),
        EAFNOSUPPORT,
    ),
    // The older way to the same calls, whose arguments are in memory where a filter can't look.
    // C libraries fall back from one to the other on ENOSYS.
    rule(
        "socketcall",
        numbers(0, 102, 0, 0),
        When::OneOf(0, &[SYS_SOCKET, SYS_SOCKETPAIR]),
        ENOSYS,
    ),
    // Makes sockets (and more) without a system call that could be filtered; the same answer as
    // with the sysctl `kernel.io_uring_disabled`, upon which programs use other means.
    deny("io_uring_setup", numbers(425, 425, 425, 425)),
    deny("io_uring_enter", numbers(426, 426, 426, 426)),
    deny("io_uring_register", numbers(427, 427, 427, 427)),
    // Put words into the mouth of whoever owns the terminal.
    rule(
        "ioctl",
        numbers(16, 54, 29, 54),
        When::OneOf(1, &[TIOCSTI, TIOCLINUX]),
        EPERM,
    ),
    // Swap and process accounting are of the host.
    deny("swapon", numbers(167, 87, 224, 87)),
    deny("swapoff", numbers(168, 115, 225, 115)),
    deny("acct", numbers(163, 51, 89, 51)),
    // Quotas are set by the host on what it gives to the guest.
    deny("quotactl", numbers(179, 131, 60, 131)),
    deny("quotactl_fd", numbers(443, 443, 443, 443)),
    // The kernel's log; readable by anyone unless a sysctl says otherwise.
    deny("syslog", numbers(103, 103, 116, 103)),
    // Large and often vulnerable, and able to observe neighbours. systemd and runc expect EPERM
    // of bpf in a container and go on without.
    deny("bpf", numbers(321, 357, 280, 386)),
    deny("perf_event_open", numbers(298, 336, 241, 364)),
    // Holds the kernel at a page fault for as long as one likes: the favourite of exploits.
    deny("userfaultfd", numbers(323, 374, 282, 388)),
    // Direct hardware access and real mode.
    deny("iopl", numbers(172, 110, 0, 0)),
    deny("ioperm", numbers(173, 101, 0, 0)),
    deny("vm86old", numbers(0, 113, 0, 0)),
    deny("vm86", numbers(0, 166, 0, 0)),
    // Long gone from kernels; old ones should not have them either.
    deny("lookup_dcookie", numbers(212, 253, 18, 249)),
    deny("nfsservctl", numbers(180, 169, 42, 169)),
    deny("uselib", numbers(134, 86, 0, 86)),
    deny("create_module", numbers(174, 127, 0, 0)),
];
