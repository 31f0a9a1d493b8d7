//! The image on a terminal: QEMU in the foreground.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{FileContext as _, Result};
use crate::process::{Program, Stop};
use crate::{ui, workspace};

/// All that QEMU can emulate but cmpxchg16b, whose flags QEMU 7.2 gets wrong:
/// the kernel's allocator, which uses it where it is there, brings it down.
const CPU: &str = "max,-cx16";

/// The machine that the image boots on.
#[derive(Debug, clap::Args)]
pub struct Machine {
    /// Memory in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    memory: u32,
    /// Port of this machine's loopback that leads to the host's ssh.
    #[arg(long, value_name = "PORT")]
    ssh: Option<u16>,
    /// Size of the disk that its pool is on, in GiB; it is kept between runs.
    #[arg(long, value_name = "GIB", default_value_t = 8)]
    disk: u64,
    /// Words to add to the kernel's command line.
    #[arg(long, value_name = "WORDS", default_value = "")]
    append: String,
}

/// Boots what is in `dist` and gives it the terminal until it powers off.
pub fn interact(dist: &Path, machine: &Machine) -> Result<()> {
    let params = dist.join("kernel-params");
    let params = fs::read_to_string(&params).of("read", &params)?;
    let forward = match machine.ssh {
        Some(port) => format!(",hostfwd=tcp:127.0.0.1:{port}-:22"),
        None => String::new(),
    };
    ui::step("booting; `poweroff` ends it, and so does Ctrl-A X");
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-accel", "tcg", "-cpu", CPU, "-smp", "2", "-no-reboot"])
        .args(["-nodefaults", "-nographic", "-serial", "mon:stdio"])
        .args(["-m", &machine.memory.to_string()])
        .args(["-nic", &format!("user,model=virtio-net-pci{forward}")])
        .arg("-kernel")
        .arg(dist.join("bzImage"))
        .arg("-initrd")
        .arg(dist.join("initrd"))
        .arg("-append")
        .arg(format!(
            "{} root=/dev/vda {}",
            params.trim(),
            machine.append
        ))
        .arg("-drive")
        .arg(format!(
            "file={},format=raw,if=virtio,readonly=on",
            dist.join("root.squashfs").display()
        ));
    if machine.disk > 0 {
        let disk = disk(machine.disk << 30)?;
        let options = "format=raw,if=virtio,discard=unmap";
        qemu.arg("-drive")
            .arg(format!("file={},{options}", disk.display()));
    }
    Program::spawn(&mut qemu, "qemu", Stop::Gently)?.wait()
}

/// A file of holes, which takes as much space as is written to it.
fn disk(size: u64) -> Result<PathBuf> {
    let path = workspace::target().join("os/disk.raw");
    let file = File::options().append(true).create(true).open(&path);
    let file = file.of("open", &path)?;
    if file.metadata().of("read", &path)?.len() < size {
        file.set_len(size).of("enlarge", &path)?;
    }
    Ok(path)
}
