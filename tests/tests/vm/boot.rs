//! Ways to boot, each from the firmware or the kernel up to the services.

use std::fs;
use std::path::Path;
use std::process::Command;

use osctl_tests::vm::{Machine, Netboot, Root, Settings};

/// A host of which the emulator knows nothing.
fn netbooted(how: Netboot) -> Option<Machine> {
    Machine::boot(Settings {
        memory: 1536,
        root: Root::Netboot(how),
        append: "runlevel=rescue".to_owned(),
        ..Settings::default()
    })
}

#[test]
fn the_firmware_finds_a_host_by_its_address_and_boots_it() {
    let Some(mut host) = netbooted(Netboot::Http) else {
        return;
    };
    let mut says = |script: &str| host.sh(script).ok().text();
    assert_eq!(says("cat /run/runit/level"), "rescue");
    let words = says("cat /proc/cmdline");
    assert!(words.contains("httproot=http://10.0.2.2"), "{words}");
    // One generation, not whatever is the current one by then.
    assert!(!words.contains("current"), "{words}");
    assert!(!says("ls /sys/class/block").contains("vd"));
}

#[test]
fn the_firmware_finds_a_host_by_its_name_and_boots_it_by_tftp_alone() {
    let Some(mut host) = netbooted(Netboot::Tftp) else {
        return;
    };
    let words = host.sh("cat /proc/cmdline").ok().text();
    assert!(words.contains("netroot=10.0.2.2,lab/"), "{words}");
    assert!(!words.contains("httproot="), "{words}");
}

#[test]
fn a_generation_is_added_to_those_that_are_served() {
    let Some(netboot) = std::env::var_os("OSCTL_VM_NETBOOT") else {
        println!("skipped: cargo xtask vm test builds the generation that this adds");
        return;
    };
    let install = Path::new(&netboot).with_file_name("netboot-generation/bin/netboot-install");
    let served = tempfile::tempdir().unwrap();
    let host = served.path().join("lab");
    let old = |n: u32| host.join(format!("old{n}"));
    for n in 0..6 {
        fs::create_dir_all(old(n)).unwrap();
        let mut touch = Command::new("touch");
        touch.args(["-d", &format!("2020-01-0{}", n + 1)]);
        assert!(touch.arg(old(n)).status().unwrap().success());
    }
    std::os::unix::fs::symlink("old5", host.join("current")).unwrap();
    // A second time, nothing is to be done.
    for _ in 0..2 {
        let done = Command::new(&install).arg(served.path()).status().unwrap();
        assert!(done.success());
        // Itself and the four newest of the others.
        let kept: Vec<bool> = (0..6).map(|n| old(n).exists()).collect();
        assert_eq!(kept, [false, false, true, true, true, true]);
        let mut names = Vec::new();
        for directory in [served.path(), &host] {
            for entry in fs::read_dir(directory).unwrap() {
                names.push(entry.unwrap().file_name().into_string().unwrap());
            }
        }
        assert_eq!(names.len(), 3 + 6, "{names:?}");
    }
    let current = fs::read_link(host.join("current")).unwrap();
    assert!(!current.to_string_lossy().starts_with("old"), "{current:?}");
    let script = fs::read_to_string(host.join("current/boot.ipxe")).unwrap();
    assert!(script.contains(current.to_str().unwrap()), "{script}");
    let params = fs::read_to_string(host.join("current/kernel-params")).unwrap();
    assert!(script.contains(params.trim()), "{script}");
    for file in ["bzImage", "initrd", "root.squashfs"] {
        let file = fs::symlink_metadata(host.join("current").join(file)).unwrap();
        assert!(file.is_file() && file.len() > 1 << 20);
    }
}

/// Makes a file system with the store of a host, which `root=` can name.
fn install(disk: &Path, label: &str, uuid: &str) {
    let dist = std::env::var_os("OSCTL_VM_DIST").unwrap();
    let words = fs::read_to_string(Path::new(&dist).join("kernel-params")).unwrap();
    let init = words
        .split_whitespace()
        .find_map(|it| it.strip_prefix("init="));
    let system = Path::new(init.unwrap()).parent().unwrap();
    let mut query = Command::new("nix-store");
    let closure = query.args(["--query", "--requisites"]).arg(system).output();
    let closure = String::from_utf8(closure.unwrap().stdout).unwrap();
    let tree = tempfile::tempdir().unwrap();
    let store = tree.path().join("nix/store");
    fs::create_dir_all(&store).unwrap();
    let mut copy = Command::new("cp");
    copy.arg("-a").args(closure.lines()).arg(&store);
    assert!(copy.status().unwrap().success());
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-F", "-L", label, "-U", uuid, "-d"]);
    mkfs.arg(tree.path()).arg(disk);
    assert!(mkfs.status().unwrap().success());
}

#[test]
fn an_installed_host_keeps_what_it_writes() {
    let settings = Settings {
        disks: vec![1024],
        append: "root=LABEL=installed nolive".to_owned(),
        ..Settings::default()
    };
    let Some(mut host) = Machine::new(settings) else {
        return;
    };
    let uuid = "5b0b8d3c-0d8c-4a0f-9f0e-2a1c3b4d5e6f";
    install(host.disk(0), "installed", uuid);
    host.start();
    let mut says = |script: &str| host.sh(script).ok().text();
    assert_eq!(says("findmnt -no SOURCE,FSTYPE /"), "/dev/vdb ext4");
    says("sv -w 240 start osctld && osctl ping");
    says("echo kept > /root/f && [ ! -e /nix/.ro ]");
    host.power_off();
    // The last word counts; before it is that of a live host.
    host.set_words(&format!("root=UUID={uuid} nolive single"));
    host.start();
    assert_eq!(host.pull("/root/f"), b"kept\n");
    let mut says = |script: &str| host.sh(script).ok().text();
    assert_eq!(says("cat /run/runit/level"), "single");
    assert_eq!(says("ls /run/runit/service"), "getty-ttyS0\ntest-agent");
    // It went down in order.
    assert_eq!(says("dmesg | grep -ic 'recovery complete' || true"), "0");
}

#[test]
fn who_sits_at_the_console_is_asked_what_to_do_without_a_root() {
    let settings = Settings {
        append: "root=LABEL=nowhere stage1.fail=ask".to_owned(),
        ..Settings::default()
    };
    let Some(mut host) = Machine::new(settings) else {
        return;
    };
    host.switch_on();
    host.console_shows("stage 1: there is no root LABEL=nowhere");
    host.console_shows("s: shell, r: reboot?");
    host.types("s\n");
    host.types("echo sum $((40 + 2))\n");
    host.console_shows("sum 42");
    host.types("exit\n");
    // It is asked again; the shell would have eaten what came before.
    host.console_shows("exit\r\ns: shell, r: reboot?");
    host.types("r\n");
    host.ends();
}
