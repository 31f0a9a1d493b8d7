//! The script that boots a host on a terminal, which `cargo xtask os run` runs,
//! driven by its keyboard.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use osctl_tests::Rootfs;
use osctl_tests::pty::Terminal;

/// Longest that an emulated machine takes to boot.
const BOOTED: Duration = Duration::from_secs(300);

/// What people read of such a host.
const GUIDE: &str = include_str!("../../../docs/os.md");
const PROMPT: &str = "[root@lab:~]# ";

/// What the script says where it does not use KVM.
const EMULATED: &str = "KVM boots no kernel here";

fn script() -> Option<PathBuf> {
    let Some(runner) = std::env::var_os("OSCTL_VM_RUNNER") else {
        println!("skipped: cargo xtask vm test builds the script that this runs");
        return None;
    };
    let mut scripts = fs::read_dir(Path::new(&runner).join("bin")).unwrap();
    Some(scripts.next().unwrap().unwrap().path())
}

/// Commands of the guide, each with what it prints.
fn transcript() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in GUIDE.lines() {
        match (line.strip_prefix(PROMPT), commands.last_mut()) {
            (Some(command), _) => commands.push((command, Vec::new())),
            (None, Some((command, _))) if *command == "poweroff" => break,
            (None, Some((_, printed))) => printed.push(line),
            (None, None) => {}
        }
    }
    assert!(commands.len() > 5, "{commands:?}");
    commands
}

/// A line without what differs from run to run: numbers, and so the widths of columns.
fn plain(line: &str) -> String {
    let words = line.split_whitespace().map(|word| {
        let mut plain = String::new();
        for c in word.chars() {
            match c.is_ascii_digit() {
                true if plain.ends_with('N') => {}
                true => plain.push('N'),
                false => plain.push(c),
            }
        }
        plain
    });
    words.collect::<Vec<_>>().join(" ")
}

/// What a terminal shows, line by line.
fn lines(shown: &str) -> Vec<String> {
    let mut text = String::new();
    let mut rest = shown;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        text.push_str(before);
        let end = after.find(|c: char| c.is_ascii_alphabetic());
        rest = &after[end.map_or(after.len(), |end| end + 1)..];
    }
    text.push_str(rest);
    text.lines().map(|it| it.trim_end().to_owned()).collect()
}

#[test]
fn what_the_guide_shows_is_what_a_new_user_sees() {
    let Some(script) = script() else { return };
    let directory = tempfile::tempdir().unwrap();
    Rootfs::minimal().write(&directory.path().join("other.tar"));
    let disk = directory.path().join("disk,1.raw");
    let mut command = Command::new(script);
    command
        .env("NIX_DISK_IMAGE", &disk)
        .env("QEMU_KERNEL_PARAMS", "quiet norandmaps")
        .env("QEMU_OPTS", "-m 1536")
        .env(
            "QEMU_NET_OPTS",
            format!("tftp={}", directory.path().display()),
        );
    let mut terminal = Terminal::spawn(&command);
    terminal.read_until_within(PROMPT, BOOTED);
    let mut types = |command: &str| {
        terminal.write(&format!("{command}\n"));
        let shown = lines(&terminal.read_until_within(PROMPT, BOOTED));
        // Between what was typed and the next prompt.
        shown[1..shown.len() - 1].to_vec()
    };
    for (command, printed) in transcript() {
        if command == "poweroff" {
            break;
        }
        let shown: Vec<String> = types(command).iter().map(|it| plain(it)).collect();
        let printed: Vec<String> = printed.iter().map(|it| plain(it)).collect();
        assert_eq!(shown, printed, "{command}");
    }
    let memory = types("grep MemTotal /proc/meminfo")[0].clone();
    let memory: u64 = memory.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!((1_200_000..1_536 << 10).contains(&memory), "{memory}");
    // Other images come from the other side.
    types("curl -so o.tar tftp://10.0.2.2/other.tar");
    assert_eq!(
        types("osctl -q ct new web3 --from-archive o.tar; echo $?"),
        ["0"]
    );
    assert_eq!(types("hostname"), ["lab"]);
    terminal.write("poweroff\n");
    assert!(terminal.end_within(BOOTED).success());
    terminal.assert_restored();
    assert_eq!(fs::metadata(disk).unwrap().len(), 8 << 30);
}

/// The script believes whoever gets to stage 1: here an emulator that takes its
/// word for KVM.
#[test]
fn a_machine_that_boots_is_the_one_that_is_used() {
    let Some(script) = script() else { return };
    if !Path::new("/dev/kvm").exists() {
        println!("skipped: there is no /dev/kvm");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let qemu = directory.path().join("qemu-system-x86_64");
    let wrapped = r#"#!/bin/bash
        arguments=("${@/#kvm/tcg}")
        exec /usr/bin/qemu-system-x86_64 "${arguments[@]/%max/max,-cx16}"
        "#;
    fs::write(&qemu, wrapped).unwrap();
    fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", directory.path().display());
    let mut command = Command::new(script);
    command.env("NIX_DISK_IMAGE", "").env("PATH", path);
    let terminal = Terminal::spawn(&command);
    let shown = terminal.read_until_within("stage 2, ", BOOTED);
    assert!(!shown.contains(EMULATED), "{shown}");
}
