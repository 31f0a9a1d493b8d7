//! The programs, run by an interpreter.

use std::io::Write;

use super::{
    compat::Socketcall,
    rules::{EACCES, EAFNOSUPPORT, ENOSYS, EPERM, RULES, When},
    *,
};

const ALLOW: u32 = 0x7fff_0000;
const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;
const ARM: u32 = 0x4000_0028;

/// Runs a program as the kernel would; panics on what the kernel would not load.
fn run(program: &[sock_filter], arch: u32, nr: u32, args: &[u64]) -> u32 {
    let mut data = [0u8; 64];
    data[..4].copy_from_slice(&nr.to_le_bytes());
    data[4..8].copy_from_slice(&arch.to_le_bytes());
    for (at, arg) in args.iter().enumerate() {
        data[16 + 8 * at..24 + 8 * at].copy_from_slice(&arg.to_le_bytes());
    }
    let (mut at, mut a) = (0, 0u32);
    loop {
        let sock_filter { code, jt, jf, k } = program[at].clone();
        at += 1;
        let branch = |taken: bool| usize::from(if taken { jt } else { jf });
        match code {
            0x20 => a = u32::from_le_bytes(data[k as usize..][..4].try_into().unwrap()),
            0x54 => a &= k,
            0x05 => at += k as usize,
            0x15 => at += branch(a == k),
            0x25 => at += branch(a > k),
            0x35 => at += branch(a >= k),
            0x45 => at += branch(a & k != 0),
            0x06 => return k,
            other => panic!("code {other:#x} at {at}"),
        }
    }
}

fn denied(errno: u16) -> u32 {
    0x0005_0000 | u32::from(errno)
}

fn default(machine: Machine) -> Vec<sock_filter> {
    let native = native::default(machine).unwrap();
    build(machine, native, Socketcall::Restricted).unwrap()
}

#[test]
fn every_rule_on_every_architecture() {
    for (machine, native, compat) in [
        (Machine::X86_64, X86_64, I386),
        (Machine::Aarch64, AARCH64, ARM),
    ] {
        let program = default(machine);
        for rule in RULES {
            let (own, other) = match machine {
                Machine::X86_64 => (rule.numbers.x86_64, rule.numbers.i386),
                Machine::Aarch64 => (rule.numbers.aarch64, rule.numbers.arm),
            };
            for (arch, nr) in [(native, own), (compat, other)] {
                if let Some(nr) = nr {
                    check(&program, arch, nr, rule);
                }
            }
        }
    }
}

fn check(program: &[sock_filter], arch: u32, nr: u32, rule: &rules::Rule) {
    let verdict = |arg: u8, value: u64| {
        let mut args = [0x55aa_55aa_55aa_55aa; 6];
        args[usize::from(arg)] = value;
        run(program, arch, nr, &args)
    };
    let (yes, name) = (denied(rule.errno), rule.name);
    match rule.when {
        When::Always => assert_eq!(verdict(0, 0), yes, "{name}"),
        When::Bits(arg, mask) => {
            assert_eq!(verdict(arg, mask.into()), yes, "{name}");
            assert_eq!(verdict(arg, u64::MAX), yes, "{name}");
            assert_eq!(verdict(arg, !u64::from(mask)), ALLOW, "{name}");
        }
        When::OneOf(arg, values) => {
            for value in values {
                // What is in the upper half does not matter to the kernel, nor to us.
                for high in [0, 1 << 32, u64::MAX << 32] {
                    assert_eq!(
                        verdict(arg, high | u64::from(*value)),
                        yes,
                        "{name} {value}"
                    );
                }
            }
            assert_eq!(verdict(arg, 2), ALLOW, "{name}");
            assert_eq!(verdict(arg, 0x5413), ALLOW, "{name}");
        }
        When::NoneOf(arg, values) => {
            for value in 0..64 {
                let expected = if values.contains(&value) { ALLOW } else { yes };
                for high in [0, u64::MAX << 32] {
                    assert_eq!(
                        verdict(arg, high | u64::from(value)),
                        expected,
                        "{name} {value}"
                    );
                }
            }
        }
    }
}

#[test]
fn everything_else_is_allowed() {
    let program = default(Machine::X86_64);
    for nr in 0..600 {
        for (arch, of) in [(X86_64, 0), (I386, 1)] {
            let listed = RULES
                .iter()
                .any(|r| [r.numbers.x86_64, r.numbers.i386][of] == Some(nr));
            if !listed {
                assert_eq!(run(&program, arch, nr, &[1; 6]), ALLOW, "{nr}");
            }
        }
    }
}

#[test]
fn other_modes() {
    let program = default(Machine::X86_64);
    // x32: getpid, kexec_load; and "no call", which is not one either.
    for nr in [0x4000_0000 + 39, 0x4000_0000 + 528, u32::MAX] {
        assert_eq!(run(&program, X86_64, nr, &[]), denied(ENOSYS));
    }
    for arch in [ARM, AARCH64, 0, u32::MAX] {
        assert_eq!(run(&program, arch, 39, &[]), denied(ENOSYS), "{arch:#x}");
    }
    // A number means different calls in different modes: 16 is ioctl, and lchown.
    assert_eq!(run(&program, X86_64, 16, &[0, 0x5412]), denied(EPERM));
    assert_eq!(run(&program, I386, 16, &[0, 0x5412]), ALLOW);
    let arm = default(Machine::Aarch64);
    assert_eq!(run(&arm, X86_64, 39, &[]), denied(ENOSYS));
    assert_eq!(run(&arm, AARCH64, 39, &[0, 1]), denied(EACCES));
    // The uppermost bit of a number means nothing there.
    assert_eq!(run(&arm, AARCH64, 0x4000_0027, &[0, 1]), ALLOW);
}

#[test]
fn old_way_to_sockets() {
    let native = native::default(Machine::X86_64).unwrap();
    let open = build(Machine::X86_64, native, Socketcall::Allowed).unwrap();
    assert_eq!(run(&open, I386, 102, &[1, 0]), ALLOW);
    assert_eq!(run(&open, I386, 359, &[38, 5]), denied(EAFNOSUPPORT));
    let program = default(Machine::X86_64);
    assert_eq!(run(&program, I386, 102, &[1, 0]), denied(ENOSYS));
    assert_eq!(run(&program, I386, 102, &[8, 0]), denied(ENOSYS));
    assert_eq!(run(&program, I386, 102, &[2, 0]), ALLOW);
}

/// One rule per number, else the second would never be reached in 32-bit mode.
#[test]
fn numbers_are_unique_and_right() {
    for (at, rule) in RULES.iter().enumerate() {
        for other in &RULES[..at] {
            let all = |r: &rules::Rule| {
                let n = r.numbers;
                [n.x86_64, n.i386, n.aarch64, n.arm]
            };
            let clash = all(rule)
                .iter()
                .zip(all(other))
                .any(|(a, b)| a.is_some() && *a == b);
            assert!(!clash, "{} {}", rule.name, other.name);
        }
    }
    // seccompiler knows the native numbers by name.
    for (machine, own) in [(Machine::X86_64, X86_64), (Machine::Aarch64, AARCH64)] {
        for rule in RULES {
            let number = match machine {
                Machine::X86_64 => rule.numbers.x86_64,
                Machine::Aarch64 => rule.numbers.aarch64,
            };
            let Some(number) = number else { continue };
            let json = format!(
                r#"{{"f":{{"mismatch_action":"allow","match_action":{{"errno":1}},
                "filter":[{{"syscall":"{}"}}]}}}}"#,
                rule.name
            );
            let map = seccompiler::compile_from_json(json.as_bytes(), native::target(machine));
            let Ok(map) = map else {
                assert!(
                    rule.name.contains("uselib") || rule.name == "create_module",
                    "{}",
                    rule.name
                );
                continue;
            };
            assert_eq!(
                run(&map["f"], own, number, &[]),
                denied(EPERM),
                "{}",
                rule.name
            );
        }
    }
}

#[test]
fn names() {
    for (text, profile) in [
        ("default", Profile::Default),
        ("compat32", Profile::Compat32),
        ("unconfined", Profile::Unconfined),
        ("/etc/x.json", Profile::File("/etc/x.json".into())),
    ] {
        assert_eq!(text.parse::<Profile>().unwrap(), profile);
        assert_eq!(profile.to_string(), text);
    }
    for bad in ["", "x", "../x", "/a\0b"] {
        assert!(bad.parse::<Profile>().is_err(), "{bad:?}");
    }
    assert!(Profile::Unconfined.programs().unwrap().is_empty());
}

fn profile(content: &[u8]) -> (tempfile::NamedTempFile, Profile) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    let profile = Profile::File(file.path().into());
    (file, profile)
}

#[test]
fn from_a_file() {
    let json = br#"{"guest":{"mismatch_action":"allow","match_action":{"errno":13},
        "filter":[{"syscall":"mkdir","args":[{"index":1,"type":"dword","op":"eq","val":511}]}]}}"#;
    let (file, _) = profile(json);
    let native = custom(file.path(), Machine::X86_64).unwrap();
    let program = build(Machine::X86_64, native, Socketcall::Restricted).unwrap();
    assert_eq!(run(&program, X86_64, 83, &[0, 511]), denied(EACCES));
    assert_eq!(run(&program, X86_64, 83, &[0, 448]), ALLOW);
    assert_eq!(run(&program, I386, 39, &[0, 511]), ALLOW);
    assert_eq!(run(&program, I386, 283, &[]), denied(EPERM));
    assert_eq!(
        run(&program, X86_64, 0x4000_0000 + 83, &[0, 448]),
        denied(ENOSYS)
    );
}

#[test]
fn bad_files() {
    let one = r#"{"mismatch_action":"allow","match_action":"trap","filter":[]}"#;
    let two = format!(r#"{{"a":{one},"b":{one}}}"#);
    let deep = "[".repeat(100_000);
    let same = r#"{"a":{"mismatch_action":"allow","match_action":"allow","filter":[]}}"#;
    let unknown =
        r#"{"a":{"mismatch_action":"allow","match_action":"trap","filter":[{"syscall":"nope"}]}}"#;
    let huge = " ".repeat(300 << 10);
    for bad in [
        "", "{}", "null", "{", &two, &deep, same, unknown, &huge, "\u{0}",
    ] {
        let (_file, profile) = profile(bad.as_bytes());
        let start = &bad[..bad.len().min(20)];
        assert!(profile.programs().is_err(), "{start:?}");
    }
    let missing = Profile::File("/nonexistent/profile".into());
    assert!(matches!(missing.programs(), Err(Error::Read { .. })));
    for endless in ["/dev/zero", "/"] {
        assert!(Profile::File(endless.into()).programs().is_err());
    }
}
