//! `bpf(2)`, as far as device programs of cgroups need it: load, attach, replace, detach, query.
//!
//! What a program decides is the caller's; nothing is pinned.

use std::{
    ffi::CString,
    mem,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use crate::error::{Context, Error, Result};

// Commands, types and flags of `linux/bpf.h`.
const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const PROG_DETACH: libc::c_long = 9;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const PROG_QUERY: libc::c_long = 16;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 2;
const F_REPLACE: u32 = 4;

/// The kernel allows this many programs on one cgroup.
const MAX_ATTACHED: usize = 64;

/// Bytes of a program's name, with its final NUL.
const NAME_LEN: usize = 16;

/// How much of the verifier's explanation is asked for.
const LOG_LEN: usize = 16 << 10;

/// One instruction of an eBPF program (`struct bpf_insn`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    /// Class, operation and source.
    pub code: u8,
    /// Destination register in the lower, source register in the upper half.
    pub regs: u8,
    /// Offset of a jump or of a memory access.
    pub off: i16,
    /// Immediate operand.
    pub imm: i32,
}

impl Insn {
    /// An instruction with its registers by number.
    pub const fn new(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
        let regs = if cfg!(target_endian = "little") {
            src << 4 | dst & 15
        } else {
            dst << 4 | src & 15
        };
        Insn {
            code,
            regs,
            off,
            imm,
        }
    }
}

// The variants of `union bpf_attr` in use. The kernel takes any size and treats the rest as zero;
// none has implicit padding, since it refuses what is not zero in fields that a command lacks.

#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; NAME_LEN],
}

#[repr(C)]
#[derive(Default)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct IdAttr {
    id: u32,
}

#[repr(C)]
#[derive(Default)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// `struct bpf_prog_info` up to the name.
#[repr(C)]
#[derive(Default)]
struct ProgInfo {
    prog_type: u32,
    id: u32,
    tag: [u8; 8],
    jited_len: u32,
    xlated_len: u32,
    jited_insns: u64,
    xlated_insns: u64,
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
    name: [u8; NAME_LEN],
}

/// # Safety
///
/// Every address in `attr` must be valid, for as many bytes as the command reads or writes.
unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> nix::Result<libc::c_long> {
    // SAFETY: `attr` is a live `repr(C)` struct of exactly the size that is passed; the caller
    // vouches for the addresses within.
    let r = unsafe { libc::syscall(libc::SYS_bpf, command, attr as *mut T, mem::size_of::<T>()) };
    nix::Error::result(r)
}

fn address<T>(slice: &[T]) -> u64 {
    slice.as_ptr() as usize as u64
}

fn address_mut<T>(slice: &mut [T]) -> u64 {
    slice.as_mut_ptr() as usize as u64
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    // A borrowed descriptor is never negative.
    fd.as_raw_fd().cast_unsigned()
}

/// Loads a program that decides about devices (`BPF_PROG_TYPE_CGROUP_DEVICE`). The name has at
/// most 15 bytes of letters, digits, `_` and `.`.
pub fn load_cgroup_device(name: &str, insns: &[Insn]) -> Result<OwnedFd> {
    let refused = |errno, log: &[u8]| {
        let count = insns.len();
        let call = format!(
            "bpf(BPF_PROG_LOAD, {name:?}, {count} instructions{})",
            tail(log)
        );
        Error::new(call, errno)
    };
    let invalid = || refused(nix::Error::EINVAL, b"");
    let c_name = CString::new(name).map_err(|_| invalid())?;
    let c_name = c_name.as_bytes_with_nul();
    let mut attr = LoadAttr {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(insns.len()).map_err(|_| invalid())?,
        insns: address(insns),
        license: address(c"GPL".to_bytes_with_nul()),
        ..LoadAttr::default()
    };
    let room = attr.prog_name.get_mut(..c_name.len()).ok_or_else(invalid)?;
    room.copy_from_slice(c_name);
    // SAFETY: `insns`, the licence and the name outlive the call; without a log nothing is
    // written. On success the kernel returns a new descriptor that nobody else owns.
    let first = unsafe { bpf(PROG_LOAD, &mut attr).map(|fd| OwnedFd::from_raw_fd(fd as i32)) };
    first.map_err(|errno| {
        // Once more for the explanation, which costs time and is rarely wanted.
        let mut log = vec![0u8; LOG_LEN];
        attr.log_level = 1;
        attr.log_size = LOG_LEN as u32;
        attr.log_buf = address_mut(&mut log);
        // SAFETY: as above; `log` is as long as `log_size` says. A descriptor returned this time
        // is closed.
        let again = unsafe { bpf(PROG_LOAD, &mut attr).map(|fd| OwnedFd::from_raw_fd(fd as i32)) };
        drop(again);
        refused(errno, &log)
    })
}

/// The last words of the verifier's explanation, if it gave one.
fn tail(log: &[u8]) -> String {
    let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
    let text = String::from_utf8_lossy(&log[..end]);
    let lines: Vec<_> = text.lines().rev().take(4).collect();
    let words = lines.into_iter().rev().collect::<Vec<_>>().join("; ");
    if words.is_empty() {
        words
    } else {
        format!(", verifier: {words:?}")
    }
}

/// Attaches a device program to a cgroup, beside others, or in place of `replace`.
pub fn attach_cgroup_device(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replace: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let mut attr = AttachAttr {
        target_fd: number(cgroup),
        attach_bpf_fd: number(program),
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: F_ALLOW_MULTI | replace.map_or(0, |_| F_REPLACE),
        replace_bpf_fd: replace.map_or(0, number),
    };
    // SAFETY: no addresses in this variant.
    let done = unsafe { bpf(PROG_ATTACH, &mut attr) };
    done.map(drop)
        .call(|| format!("bpf(BPF_PROG_ATTACH, cgroup {})", number(cgroup)))
}

/// Detaches a device program from a cgroup.
pub fn detach_cgroup_device(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let mut attr = AttachAttr {
        target_fd: number(cgroup),
        attach_bpf_fd: number(program),
        attach_type: ATTACH_CGROUP_DEVICE,
        ..AttachAttr::default()
    };
    // SAFETY: no addresses in this variant.
    let done = unsafe { bpf(PROG_DETACH, &mut attr) };
    done.map(drop)
        .call(|| format!("bpf(BPF_PROG_DETACH, cgroup {})", number(cgroup)))
}

/// Ids of the device programs that are attached to exactly this cgroup.
pub fn query_cgroup_device(cgroup: BorrowedFd<'_>) -> Result<Vec<u32>> {
    let mut ids = vec![0u32; MAX_ATTACHED];
    let mut attr = QueryAttr {
        target_fd: number(cgroup),
        attach_type: ATTACH_CGROUP_DEVICE,
        prog_ids: address_mut(&mut ids),
        prog_cnt: MAX_ATTACHED as u32,
        ..QueryAttr::default()
    };
    // SAFETY: `ids` has room for `prog_cnt` numbers and outlives the call.
    let done = unsafe { bpf(PROG_QUERY, &mut attr) };
    done.call(|| format!("bpf(BPF_PROG_QUERY, cgroup {})", number(cgroup)))?;
    ids.truncate(attr.prog_cnt as usize);
    Ok(ids)
}

/// A loaded program.
pub fn program_by_id(id: u32) -> Result<OwnedFd> {
    let mut attr = IdAttr { id };
    // SAFETY: no addresses in this variant. On success the kernel returns a new descriptor that
    // nobody else owns.
    let fd = unsafe { bpf(PROG_GET_FD_BY_ID, &mut attr).map(|fd| OwnedFd::from_raw_fd(fd as i32)) };
    fd.call(|| format!("bpf(BPF_PROG_GET_FD_BY_ID, {id})"))
}

/// The name that a program was loaded with.
pub fn program_name(program: BorrowedFd<'_>) -> Result<String> {
    let mut info = ProgInfo::default();
    let mut attr = InfoAttr {
        bpf_fd: number(program),
        info_len: mem::size_of::<ProgInfo>() as u32,
        info: &raw mut info as usize as u64,
    };
    // SAFETY: `info` is a live struct of `info_len` bytes. Its counts and addresses of further
    // buffers are zero, so the kernel fills none of those.
    let done = unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) };
    done.call(|| format!("bpf(BPF_OBJ_GET_INFO_BY_FD, {})", number(program)))?;
    let name = info.name.split(|b| *b == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// Tells whether the calling process may use `bpf(2)` for device programs at all.
pub fn is_permitted() -> bool {
    let deny = [
        Insn::new(0xb4, 0, 0, 0, 0), // r0 = 0
        Insn::new(0x95, 0, 0, 0, 0), // exit
    ];
    load_cgroup_device("probe", &deny).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn explains_a_rejected_program() {
        if !is_permitted() {
            println!("skipped: bpf(2) is not permitted");
            return;
        }
        // Exits without a verdict in r0.
        let error = load_cgroup_device("bad", &[Insn::new(0x95, 0, 0, 0, 0)]).unwrap_err();
        assert!(error.to_string().contains("R0"), "{error}");
        assert!(load_cgroup_device("a_name_that_is_too_long", &[]).is_err());
    }

    #[test]
    fn names_a_program() {
        if !is_permitted() {
            println!("skipped: bpf(2) is not permitted");
            return;
        }
        let insns = [Insn::new(0xb4, 0, 0, 0, 1), Insn::new(0x95, 0, 0, 0, 0)];
        let program = load_cgroup_device("some_name", &insns).unwrap();
        assert_eq!(program_name(program.as_fd()).unwrap(), "some_name");
        assert!(query_cgroup_device(program.as_fd()).is_err());
    }
}
