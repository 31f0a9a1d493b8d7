//! The rules for a machine's 32-bit mode, which seccompiler does not know.

use seccompiler::{BpfProgram, sock_filter};

use super::{
    Machine,
    link::{ALLOW, LOAD, NR_AT, RETURN, errno, insn, jump},
    rules::{RULES, Rule, When},
};

const JUMP_EQ: u16 = 0x15;
const JUMP_BITS: u16 = 0x45;

/// Whether 32-bit programs may open sockets through `socketcall(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Socketcall {
    Restricted,
    Allowed,
}

/// The built-in rules for i386 on x86_64, for arm on aarch64.
pub(super) fn program(machine: Machine, socketcall: Socketcall) -> BpfProgram {
    let mut program = vec![insn(LOAD, NR_AT)];
    for rule in RULES {
        let number = match machine {
            Machine::X86_64 => rule.numbers.i386,
            Machine::Aarch64 => rule.numbers.arm,
        };
        let skip = rule.name == "socketcall" && socketcall == Socketcall::Allowed;
        if let Some(number) = number.filter(|_| !skip) {
            program.extend(one(number, rule));
        }
    }
    program.push(insn(RETURN, ALLOW));
    program
}

/// Compares the number, then the argument. There is one rule for each number, so a call whose
/// argument does not match is allowed at once.
fn one(number: u32, rule: &Rule) -> BpfProgram {
    let deny = insn(RETURN, errno(rule.errno));
    let mut body = test(rule.when);
    let conditional = !body.is_empty();
    body.push(deny);
    if conditional {
        body.push(insn(RETURN, ALLOW));
    }
    // A handful of instructions.
    body.insert(0, jump(JUMP_EQ, number, 0, body.len() as u8));
    body
}

/// Goes to the instruction after itself if the call is to be denied, to the one after that if not.
fn test(when: When) -> Vec<sock_filter> {
    // `struct seccomp_data`: arguments of 64 bits from offset 16, the lower half first.
    let load = |arg: u8| insn(LOAD, 16 + 8 * u32::from(arg));
    match when {
        When::Always => Vec::new(),
        When::Bits(arg, mask) => vec![load(arg), jump(JUMP_BITS, mask, 0, 1)],
        When::OneOf(arg, values) => {
            let last = values.len().saturating_sub(1);
            let tests = values.iter().enumerate();
            let tests =
                tests.map(|(at, v)| jump(JUMP_EQ, *v, (last - at) as u8, u8::from(at == last)));
            [load(arg)].into_iter().chain(tests).collect()
        }
        When::NoneOf(arg, values) => {
            let tests = values.iter().enumerate();
            let tests = tests.map(|(at, v)| jump(JUMP_EQ, *v, (values.len() - at) as u8, 0));
            [load(arg)].into_iter().chain(tests).collect()
        }
    }
}
