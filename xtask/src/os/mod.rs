//! `cargo xtask os`: builds the host image from Debian's packages with Nix, and
//! boots it. Owns the order of the steps, the cache's place and our programs.

#[cfg(test)]
mod evaluation;
mod index;
mod lock;
mod nix;
mod qemu;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::check::cargo;
use crate::error::{Error, FileContext as _, Result};
use crate::{apt, process, test, ui, workspace};

/// Programs that the image gets, with the packages they are of.
const PROGRAMS: &[&str] = &["osctl", "osctld", "osctl-runtime", "osctl-vm-agent"];

/// Arguments of `cargo xtask os`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, clap::Subcommand)]
enum Task {
    /// Build kernel, initrd, squashfs and command line into target/os/dist, and add them to
    /// target/os/netboot, which hosts can boot from.
    Build(Image),
    /// Boot the image under QEMU, with its serial console on this terminal.
    Run(RunArgs),
    /// Write the list of Debian packages anew, from what the mirror has now.
    Lock,
}

/// What is built.
#[derive(Debug, clap::Args)]
pub struct Image {
    /// Configuration of the host.
    #[arg(long, value_name = "FILE", default_value = "os/hosts/vm.nix")]
    configuration: PathBuf,
    /// Optimised programs.
    #[arg(long)]
    release: bool,
    /// With the programs that tests run.
    #[arg(skip)]
    tests: bool,
}

impl Image {
    /// The host that tests boot.
    pub fn of_tests() -> Self {
        Self {
            configuration: "os/hosts/vm.nix".into(),
            release: false,
            tests: true,
        }
    }
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    #[command(flatten)]
    image: Image,
    #[command(flatten)]
    machine: qemu::Machine,
}

/// Runs one of the tasks.
pub fn run(args: &Args) -> Result<()> {
    match &args.task {
        Task::Build(image) => {
            let built = build(image)?;
            ui::say(built.dist.display().to_string());
            ui::say(built.netboot.display().to_string());
            Ok(())
        }
        Task::Run(args) => {
            apt::ensure(&[apt::QEMU])?;
            let built = build(&args.image)?;
            qemu::interact(&built.runner, &args.machine)
        }
        Task::Lock => lock::write(&cache().join("lock.json")),
    }
}

/// Where things are kept that a later build is quicker with.
fn cache() -> PathBuf {
    workspace::cache().join("os")
}

/// Where an image is that has been built.
#[derive(Debug)]
pub struct Built {
    /// Kernel, initrd, squashfs and command line.
    pub dist: PathBuf,
    /// Generations of hosts, as a server gives them to hosts that boot.
    pub netboot: PathBuf,
    /// Has the script that boots it under QEMU.
    pub runner: PathBuf,
}

/// Builds the image.
pub fn build(image: &Image) -> Result<Built> {
    build_attributes(
        image,
        &[
            ("dist", "dist"),
            ("netboot", "netboot-generation"),
            ("runner", "runner"),
        ],
    )?;
    let os = workspace::target().join("os");
    let netboot = os.join("netboot");
    let mut install = Command::new(os.join("netboot-generation/bin/netboot-install"));
    process::run(install.arg(&netboot), "netboot-install")?;
    Ok(Built {
        dist: os.join("dist"),
        netboot,
        runner: os.join("runner"),
    })
}

/// The script that a runner has, which is named by its host.
pub fn script(runner: &Path) -> Result<PathBuf> {
    let bin = runner.join("bin");
    let mut scripts = fs::read_dir(&bin).of("read", &bin)?;
    let script = scripts.next().transpose().of("read", &bin)?;
    script
        .map(|it| it.path())
        .ok_or_else(|| Error::Other(format!("{} is empty", bin.display())))
}

/// Builds the system that tests switch a running host to.
pub fn build_next() -> Result<PathBuf> {
    let image = Image {
        configuration: "os/hosts/vm-next.nix".into(),
        release: false,
        tests: true,
    };
    build_attributes(&image, &[("toplevel", "next")])?;
    Ok(workspace::target().join("os/next"))
}

/// Builds attributes, each of which is then at a name below `target/os`.
fn build_attributes(image: &Image, attributes: &[(&str, &str)]) -> Result<()> {
    apt::require_root("build the host image: Nix works without a daemon")?;
    apt::ensure(&[apt::NIX, apt::BUSYBOX])?;
    let cache = cache();
    fs::create_dir_all(&cache).of("create", &cache)?;
    let programs = programs(&cache, image)?;
    let lock = cache.join("lock.json");
    if !lock::is_current(&lock)? {
        lock::write(&lock)?;
    }
    let builder = nix::Builder {
        cache: &cache,
        configuration: &workspace::root().join(&image.configuration),
        programs: &programs,
        lock: &lock,
    };
    for (attribute, name) in attributes {
        let out = workspace::target().join("os").join(name);
        match builder.build(attribute, &out)? {
            nix::Built::Yes => {}
            nix::Built::ArchiveIsGone => {
                ui::step("the mirror has other versions by now");
                lock::write(&lock)?;
                builder.build(attribute, &out)?.or_error()?;
            }
        }
        // The others are of the same parts.
        if *attribute == "dist" {
            builder.keep_slow(&out)?;
        }
    }
    Ok(())
}

/// Builds our programs and puts them, without what debuggers want, into one
/// directory.
fn programs(cache: &Path, image: &Image) -> Result<PathBuf> {
    ui::step("building the programs");
    let mut build = cargo();
    if image.tests {
        build.args(test::test_programs());
    } else {
        build.args(["build", "--quiet", "--locked", "--bins"]);
        if image.release {
            build.arg("--release");
        }
        for package in ["osctl", "osctld", "osctl-runtime", "osctl-tests"] {
            build.args(["--package", package]);
        }
    }
    process::run(&mut build, "cargo build")?;
    let profile = if image.release { "release" } else { "debug" };
    let directory = cache.join("programs");
    fs::create_dir_all(&directory).of("create", &directory)?;
    for program in PROGRAMS {
        let built = workspace::target().join(profile).join(program);
        strip(&built, &directory.join(program))?;
    }
    Ok(directory)
}

/// Copies a program without what debuggers want.
pub fn strip(program: &Path, to: &Path) -> Result<()> {
    let mut strip = Command::new("strip");
    process::run(strip.arg("-o").arg(to).arg(program), "strip")
}
