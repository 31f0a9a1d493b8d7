//! The image on a terminal: the script that boots it, told what it is to have.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{FileContext as _, Result};
use crate::process::{Program, Stop};
use crate::{ui, workspace};

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

/// Boots the host of `runner` and gives it the terminal until it powers off.
pub fn interact(runner: &Path, machine: &Machine) -> Result<()> {
    let forward = match machine.ssh {
        Some(port) => format!("hostfwd=tcp:127.0.0.1:{port}-:22,"),
        None => String::new(),
    };
    // Whoever wants another image than the host carries fetches it from there.
    let images = workspace::images().display().to_string();
    let network = format!("{forward}tftp={}", images.replace(',', ",,"));
    let disk = match machine.disk {
        0 => OsString::new(),
        size => disk(size << 30)?.into(),
    };
    ui::step("booting; `poweroff` ends it, and so does Ctrl-A X");
    let mut qemu = Command::new(super::script(runner)?);
    qemu.env("NIX_DISK_IMAGE", disk)
        .env("QEMU_KERNEL_PARAMS", &machine.append)
        .env("QEMU_NET_OPTS", network)
        .env("QEMU_OPTS", format!("-m {}", machine.memory));
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
