//! QEMU's command line. What a state was saved with is what it is restored
//! with, so that there is one place for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::settings::{Console, Netboot, Root, Settings, Wire};

/// The emulator.
pub const PROGRAM: &str = "/usr/bin/qemu-system-x86_64";

/// All that QEMU can emulate but cmpxchg16b, whose flags QEMU 7.2 gets wrong:
/// the kernel's allocator, which uses it where it is there, brings it down.
const CPU: &str = "max,-cx16";

/// Programs are where they were the last time: the emulator keeps its translation of code by
/// address, and starting one takes a third of the time (11 ms, not 37).
pub(super) const WORDS: &str = "osctl.agent norandmaps";

/// The file of the disk of a host's pool, in its directory.
pub const POOL: &str = "pool";

/// A disk beside the root's.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The file.
    pub path: PathBuf,
    /// Its format, as QEMU calls it.
    pub format: &'static str,
}

/// What the command line is made from.
#[derive(Debug)]
pub struct Machine<'a> {
    /// Directory of what boots.
    pub dist: &'a Path,
    /// What it is.
    pub settings: &'a Settings,
    /// Where stage 1 says it finds the root.
    pub root: &'a str,
    /// Directory of sockets and the console.
    pub here: &'a Path,
    /// Disks, in the order of the settings.
    pub disks: &'a [Disk],
    /// A shell command whose output is the state that it starts from.
    pub state: Option<String>,
}

impl Machine<'_> {
    /// The command.
    pub fn command(&self) -> Command {
        let mut qemu = Command::new(PROGRAM);
        self.devices(&mut qemu);
        self.ports(&mut qemu);
        self.boot(&mut qemu);
        if let Some(state) = &self.state {
            qemu.arg("-incoming").arg(format!("exec:{state}"));
        }
        qemu
    }

    fn devices(&self, qemu: &mut Command) {
        // One processor: emulated ones, each in a thread, do not always see in time how the kernel
        // changes code that another of them runs (an Oops in about forty boots).
        qemu.args(["-accel", "tcg", "-cpu", CPU, "-smp", "1", "-no-reboot"])
            .args(["-nodefaults", "-display", "none", "-m"])
            .arg(self.settings.memory.to_string())
            // A host that is restored is another one, and its kernel learns of it:
            // it takes new random numbers.
            .args(["-device", "vmgenid,guid=auto"])
            .arg("-nic")
            .arg(format!("user,model=virtio-net-pci{}", self.firmware()))
            .arg("-netdev");
        match self.settings.wire.as_ref().map(Wire::group) {
            Some(group) => qemu.arg(format!("socket,id=wire,mcast={group},localaddr=127.0.0.1")),
            None => qemu.arg("hubport,id=wire,hubid=0"),
        };
        // Always there, so that a state is the same with and without.
        qemu.args(["-device", "virtio-net-pci,netdev=wire,romfile="]);
        if self.settings.root == Root::Disk {
            let root = self.dist.join("root.squashfs");
            let root = root.display();
            qemu.arg("-drive")
                .arg(format!("file={root},format=raw,if=virtio,readonly=on"));
        }
        for Disk { path, format } in self.disks {
            let path = path.display();
            qemu.arg("-drive")
                .arg(format!("file={path},format={format},if=virtio"));
        }
        if self.settings.pool.is_some() {
            let path = self.here.join(POOL);
            let path = path.display();
            qemu.arg("-drive")
                .arg(format!("file={path},format=raw,if=none,id=pool"))
                .args(["-device", "nvme,drive=pool,serial=pool"]);
        }
    }

    /// What the network has for the firmware.
    fn firmware(&self) -> String {
        let Root::Netboot(how) = self.settings.root else {
            return String::new();
        };
        let known = match how {
            Netboot::Http => "",
            Netboot::Tftp => ",mac=52:54:00:00:00:01,hostname=lab",
        };
        let tftp = self.here.join("tftp");
        format!("{known},bootfile=first.ipxe,tftp={}", tftp.display())
    }

    fn ports(&self, qemu: &mut Command) {
        let here = self.here.display();
        let console = match self.settings.console {
            Console::File => format!(
                "socket,id=console,path={here}/keyboard,server=on,wait=off,logfile={here}/console"
            ),
            Console::Terminal => "stdio,id=console,mux=on,signal=off".to_owned(),
        };
        if self.settings.console == Console::Terminal {
            qemu.args(["-mon", "chardev=console"]);
        }
        qemu.args([
            "-chardev",
            &console,
            "-serial",
            "chardev:console",
            "-chardev",
        ])
        .arg(format!("socket,id=agent,path={here}/agent"))
        .args(["-device", "virtio-serial-pci", "-device"])
        .arg("virtserialport,chardev=agent,name=osctl.agent")
        .arg("-qmp")
        .arg(format!("unix:{here}/monitor"));
    }

    fn boot(&self, qemu: &mut Command) {
        if let Root::Netboot(_) = self.settings.root {
            qemu.args(["-boot", "n"]);
            return;
        }
        let params = fs::read_to_string(self.dist.join("kernel-params")).unwrap();
        qemu.arg("-kernel")
            .arg(self.dist.join("bzImage"))
            .arg("-initrd")
            .arg(self.dist.join("initrd"))
            .arg("-append")
            .arg(format!(
                "{} {} {WORDS} {}",
                params.trim(),
                self.root,
                self.settings.append
            ));
    }
}
