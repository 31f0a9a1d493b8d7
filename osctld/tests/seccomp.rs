//! The default seccomp profile, installed for real.
//!
//! The test starts itself once more; the copy installs the filter on its thread, tries calls and
//! prints what it got.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    os::unix::process::ExitStatusExt,
    process::{Command, Output},
};

use osctl_linux::probe::{Abi, CALLS};
use osctld::security::seccomp::Profile;
use seccompiler::sock_filter;

const ROLE: &str = "OSCTLD_TEST_SECCOMP_ROLE";

/// Not a test: what the copy does.
#[test]
fn inside() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    for program in Profile::Default.programs().unwrap() {
        let program: Vec<_> = program.into_iter().map(unpack).collect();
        seccompiler::apply_filter(&program).unwrap();
    }
    let abi = match role.as_str() {
        "native" => Abi::Native,
        "x32" => Abi::X32,
        "i386" => Abi::I386,
        script => {
            let done = Command::new("/bin/sh")
                .args(["-c", script])
                .output()
                .unwrap();
            println!("{done:?}");
            assert!(done.status.success());
            println!("@done");
            return;
        }
    };
    for call in CALLS {
        match call.attempt(abi) {
            Some(Ok(())) => println!("@{}=ok", call.name()),
            Some(Err(errno)) => println!("@{}={errno:?}", call.name()),
            None => {}
        }
    }
    println!("@done");
}

fn unpack(insn: u64) -> sock_filter {
    sock_filter {
        code: (insn >> 48) as u16,
        jt: (insn >> 40) as u8,
        jf: (insn >> 32) as u8,
        k: insn as u32,
    }
}

fn copy(role: &str) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "inside", "--nocapture"])
        .env(ROLE, role);
    command.output().unwrap()
}

/// What each call answered; `None` if the machine does not have the mode.
fn answers(role: &str) -> Option<BTreeMap<String, String>> {
    let output = copy(role);
    if output.status.signal() == Some(11) {
        println!("skipped: no {role} mode on this machine");
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("@done"), "{output:?}");
    let lines = text
        .lines()
        .filter_map(|l| l.split_once('@')?.1.split_once('='));
    Some(
        lines
            .map(|(name, answer)| (name.to_owned(), answer.to_owned()))
            .collect(),
    )
}

/// What the profile has to answer; the kernel's own answer where it has no opinion.
fn expected(name: &str) -> &'static [&'static str] {
    match name {
        "umount2" | "socketcall bind" => &["EFAULT"],
        "umount2 force" => &["EACCES"],
        "socket inet" => &["ok"],
        "socket alg" | "socket vsock" | "socketpair vsock" => &["EAFNOSUPPORT"],
        "socketcall socket" => &["ENOSYS"],
        "ioctl tcgets" => &["EBADF"],
        "keyctl" => &["EOPNOTSUPP", "ENOSYS"],
        _ => &["EPERM"],
    }
}

#[test]
fn native() {
    let answers = answers("native").unwrap();
    assert!(answers.len() > 20, "{answers:?}");
    for (name, answer) in &answers {
        assert!(
            expected(name).contains(&answer.as_str()),
            "{name}: {answer}"
        );
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn i386() {
    let Some(answers) = answers("i386") else {
        return;
    };
    assert!(answers.len() > 20, "{answers:?}");
    for (name, answer) in &answers {
        assert!(
            expected(name).contains(&answer.as_str()),
            "{name}: {answer}"
        );
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn x32() {
    let Some(answers) = answers("x32") else {
        return;
    };
    assert!(answers.len() > 20);
    assert!(answers.values().all(|a| a == "ENOSYS"), "{answers:?}");
}

/// What container engines do within a guest.
#[test]
fn nested_containers() {
    let script = "unshare --user --map-root-user --mount --pid --fork --net --ipc --uts sh -c '
        mount -t tmpfs none /mnt && mkdir /mnt/old && mount --bind /mnt /mnt &&
        cd /mnt && pivot_root . old && exit 0'";
    let plain = Command::new("/bin/sh")
        .args(["-c", script])
        .output()
        .unwrap();
    if !plain.status.success() {
        println!("skipped: no nested namespaces here: {plain:?}");
        return;
    }
    let output = copy(script);
    assert!(output.status.success(), "{output:?}");
}
