//! Putting programs together: one after the other, and one per architecture.
//!
//! Jumps of classic BPF are relative and forward, so a program works at any place as long as it
//! stays in one piece.

use seccompiler::{BpfProgram, sock_filter};

use super::{Machine, rules::ENOSYS};

/// `BPF_LD|BPF_W|BPF_ABS`, `BPF_RET|BPF_K`, `BPF_JMP|BPF_JA`, `BPF_JMP|BPF_JEQ|BPF_K`,
/// `BPF_JMP|BPF_JGE|BPF_K`.
pub(super) const LOAD: u16 = 0x20;
pub(super) const RETURN: u16 = 0x06;
const JUMP: u16 = 0x05;
const JUMP_EQ: u16 = 0x15;
const JUMP_GE: u16 = 0x35;

/// Offsets in `struct seccomp_data`.
pub(super) const NR_AT: u32 = 0;
const ARCH_AT: u32 = 4;

/// `SECCOMP_RET_ALLOW`.
pub(super) const ALLOW: u32 = 0x7fff_0000;

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;
const AUDIT_ARCH_AARCH64: u32 = 0xc000_00b7;
const AUDIT_ARCH_ARM: u32 = 0x4000_0028;

/// Calls of the x32 mode have the architecture of x86_64 and this bit in their number.
const X32_BIT: u32 = 0x4000_0000;

/// `SECCOMP_RET_ERRNO`.
pub(super) fn errno(number: u16) -> u32 {
    0x0005_0000 | u32::from(number)
}

/// An instruction that does not branch.
pub(super) fn insn(code: u16, k: u32) -> sock_filter {
    jump(code, k, 0, 0)
}

/// An instruction that may.
pub(super) fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Runs programs one after the other: what one allows is up to the next.
pub(super) fn chain(programs: Vec<BpfProgram>) -> BpfProgram {
    let mut out = BpfProgram::new();
    let last = programs.len().saturating_sub(1);
    for (at, mut program) in programs.into_iter().enumerate() {
        let length = program.len();
        if at < last {
            for (place, insn) in program.iter_mut().enumerate() {
                if insn.code == RETURN && insn.k == ALLOW {
                    *insn = self::insn(JUMP, (length - place - 1) as u32);
                }
            }
        }
        out.append(&mut program);
    }
    out
}

/// Sends each call to the program for its architecture. Nothing is killed: what is unknown gets
/// the answer of a kernel without support for it.
pub(super) fn switch(machine: Machine, native: BpfProgram, compat: BpfProgram) -> BpfProgram {
    let (native_arch, compat_arch) = match machine {
        Machine::X86_64 => (AUDIT_ARCH_X86_64, AUDIT_ARCH_I386),
        Machine::Aarch64 => (AUDIT_ARCH_AARCH64, AUDIT_ARCH_ARM),
    };
    let unknown = insn(RETURN, errno(ENOSYS));
    let mut is_native = match machine {
        Machine::X86_64 => vec![
            insn(LOAD, NR_AT),
            jump(JUMP_GE, X32_BIT, 0, 1),
            unknown.clone(),
        ],
        Machine::Aarch64 => Vec::new(),
    };
    // Over the three instructions that follow.
    is_native.push(insn(JUMP, 3));
    let mut program = vec![
        insn(LOAD, ARCH_AT),
        jump(JUMP_EQ, native_arch, 0, is_native.len() as u8),
    ];
    program.append(&mut is_native);
    program.push(jump(JUMP_EQ, compat_arch, 0, 1));
    // Over the next one and the native program.
    program.push(insn(JUMP, 1 + native.len() as u32));
    program.push(unknown);
    program.extend(native);
    program.extend(compat);
    program
}
