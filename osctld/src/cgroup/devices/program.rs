//! The BPF program that decides about devices on a v2 cgroup. Pure.

use osctl_linux::bpf::Insn;

use super::{DeviceKind, DeviceRule, rule};

// Registers. R1 holds the context at entry, R0 the verdict at exit.
const R0: u8 = 0;
const CONTEXT: u8 = 1;
const SCRATCH: u8 = 2;
const KIND: u8 = 3;
const ACCESS: u8 = 4;
const MAJOR: u8 = 5;
const MINOR: u8 = 6;

// Offsets in `struct bpf_cgroup_dev_ctx`.
const ACCESS_TYPE_AT: i16 = 0;
const MAJOR_AT: i16 = 4;
const MINOR_AT: i16 = 8;

// `BPF_DEVCG_DEV_*`, in the lower half of `access_type`; the access is in the upper half.
const BLOCK: i32 = 1;
const CHAR: i32 = 2;

// `BPF_LDX|BPF_MEM|BPF_W`, `BPF_ALU|…|BPF_K` and `|BPF_X`, `BPF_JMP32|BPF_JNE|…`, `BPF_EXIT`.
const LOAD_WORD: u8 = 0x61;
const MOVE_IMM: u8 = 0xb4;
const MOVE_REG: u8 = 0xbc;
const AND_IMM: u8 = 0x54;
const SHIFT_RIGHT_IMM: u8 = 0x74;
const JUMP_NE_IMM: u8 = 0x56;
const JUMP_NE_REG: u8 = 0x5e;
const EXIT: u8 = 0x95;

/// A program for `BPF_PROG_TYPE_CGROUP_DEVICE`: each rule is a chain of comparisons that ends in
/// "allow", or jumps to the next rule; after the last, "deny".
pub fn assemble(rules: &[DeviceRule]) -> Vec<Insn> {
    let mut program = vec![
        Insn::new(LOAD_WORD, KIND, CONTEXT, ACCESS_TYPE_AT, 0),
        Insn::new(MOVE_REG, ACCESS, KIND, 0, 0),
        Insn::new(AND_IMM, KIND, 0, 0, 0xffff),
        Insn::new(SHIFT_RIGHT_IMM, ACCESS, 0, 0, 16),
        Insn::new(LOAD_WORD, MAJOR, CONTEXT, MAJOR_AT, 0),
        Insn::new(LOAD_WORD, MINOR, CONTEXT, MINOR_AT, 0),
    ];
    for rule in rule::merged(rules) {
        program.extend(one(&rule));
        if rule.is_everything() {
            // The verifier refuses instructions that can't be reached.
            return program;
        }
    }
    program.extend(verdict(0));
    program
}

fn one(rule: &DeviceRule) -> Vec<Insn> {
    if rule.is_everything() {
        return verdict(1).into();
    }
    let kind = match rule.kind {
        DeviceKind::Block => Some(BLOCK),
        DeviceKind::Char => Some(CHAR),
        DeviceKind::All => None,
    };
    let mut chain = Vec::new();
    let mut must_equal = |register, value: i32| {
        chain.push(Insn::new(JUMP_NE_IMM, register, 0, 0, value));
    };
    if let Some(kind) = kind {
        must_equal(KIND, kind);
    }
    // Comparisons are of 32 bits, so the sign of the immediate does not matter.
    if let Some(major) = rule.major {
        must_equal(MAJOR, major.cast_signed());
    }
    if let Some(minor) = rule.minor {
        must_equal(MINOR, minor.cast_signed());
    }
    // All that is asked for must be in the rule: access & mode == access.
    chain.push(Insn::new(MOVE_REG, SCRATCH, ACCESS, 0, 0));
    chain.push(Insn::new(AND_IMM, SCRATCH, 0, 0, rule.access.bits().into()));
    chain.push(Insn::new(JUMP_NE_REG, SCRATCH, ACCESS, 0, 0));
    chain.extend(verdict(1));
    let end = chain.len();
    for (at, insn) in chain.iter_mut().enumerate() {
        if matches!(insn.code, JUMP_NE_IMM | JUMP_NE_REG) {
            // At most 8 instructions.
            insn.off = (end - at - 1) as i16;
        }
    }
    chain
}

fn verdict(allow: i32) -> [Insn; 2] {
    [
        Insn::new(MOVE_IMM, R0, 0, 0, allow),
        Insn::new(EXIT, 0, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::{Access, default_rules};

    /// Interprets what `assemble` emits; panics on anything else.
    fn run(program: &[Insn], access: Access, kind: i32, major: u32, minor: u32) -> bool {
        let context = [u32::from(access.bits()) << 16 | kind as u32, major, minor];
        let mut registers = [0u32; 11];
        let mut at = 0;
        loop {
            let Insn {
                code,
                regs,
                off,
                imm,
            } = program[at];
            let (dst, src) = (usize::from(regs & 15), usize::from(regs >> 4));
            let imm = imm as u32;
            at += 1;
            let mut jump = |taken: bool| {
                at += if taken {
                    usize::try_from(off).unwrap()
                } else {
                    0
                }
            };
            match code {
                LOAD_WORD => {
                    assert_eq!(src, usize::from(CONTEXT));
                    registers[dst] = context[usize::try_from(off).unwrap() / 4];
                }
                MOVE_IMM => registers[dst] = imm,
                MOVE_REG => registers[dst] = registers[src],
                AND_IMM => registers[dst] &= imm,
                SHIFT_RIGHT_IMM => registers[dst] >>= imm,
                JUMP_NE_IMM => jump(registers[dst] != imm),
                JUMP_NE_REG => jump(registers[dst] != registers[src]),
                EXIT => return registers[0] == 1,
                other => panic!("opcode {other:#x}"),
            }
        }
    }

    fn rules(texts: &[&str]) -> Vec<DeviceRule> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn defaults() {
        let program = assemble(&default_rules());
        let read_write = Access::READ.union(Access::WRITE);
        assert!(run(&program, read_write, CHAR, 1, 3));
        assert!(run(&program, Access::ALL, CHAR, 136, 77));
        assert!(!run(&program, Access::READ, CHAR, 1, 11));
        assert!(!run(&program, Access::READ, CHAR, 1, 1));
        assert!(!run(&program, Access::READ, BLOCK, 1, 3));
        assert!(run(&program, Access::MKNOD, BLOCK, 8, 0));
        assert!(!run(
            &program,
            Access::MKNOD.union(Access::READ),
            BLOCK,
            8,
            0
        ));
        assert!(run(&program, Access::MKNOD, CHAR, u32::MAX, u32::MAX));
    }

    #[test]
    fn agrees_with_the_rules_themselves() {
        let list = rules(&[
            "c 1:3 r",
            "c 1:* w",
            "b 4294967295:2 rm",
            "b *:7 rwm",
            "a *:* m",
        ]);
        let program = assemble(&list);
        let kinds = [(CHAR, DeviceKind::Char), (BLOCK, DeviceKind::Block)];
        for bits in 1..8u8 {
            let letters = LETTERS
                .iter()
                .filter(|(_, b)| bits & b != 0)
                .map(|(c, _)| *c);
            let access: Access = letters.collect::<String>().parse().unwrap();
            for (number, kind) in kinds {
                for major in [0, 1, 2, u32::MAX] {
                    for minor in [0, 2, 3, 7] {
                        let granted = list.iter().any(|r| {
                            (r.kind == DeviceKind::All || r.kind == kind)
                                && r.major.is_none_or(|m| m == major)
                                && r.minor.is_none_or(|m| m == minor)
                                && r.access.contains(access)
                        });
                        let verdict = run(&program, access, number, major, minor);
                        assert_eq!(verdict, granted, "{access} {kind:?} {major}:{minor}");
                    }
                }
            }
        }
    }

    const LETTERS: [(char, u8); 3] = [('m', 1), ('r', 2), ('w', 4)];

    #[test]
    fn extremes() {
        assert!(!run(&assemble(&[]), Access::MKNOD, CHAR, 1, 3));
        let everything = assemble(&rules(&["c 1:3 r", "a *:* rwm", "b 8:0 r"]));
        assert!(run(&everything, Access::ALL, BLOCK, 8, 0));
        assert_eq!(everything.len(), 8, "nothing unreachable: {everything:?}");
    }
}
