//! Debian's `lxc`: containers in the scratch directory that are as like ours
//! as it lets them be: the distribution's own settings for unprivileged
//! containers, an idmapped root file system, a network namespace without
//! links. Owns its installation and that no container of it is left.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::read::GzDecoder;

use super::Action;
use super::cgroups::Cgroups;
use crate::error::{Error, FileContext as _, Result};
use crate::{apt, process};

/// The container of the rounds.
const CONTAINER: &str = "b0";
/// Services of the package that a measurement has no use for: they would make
/// a bridge and start containers.
const SERVICES: [&str; 2] = ["lxc-net.service", "lxc.service"];

/// Containers in a directory.
#[derive(Debug)]
pub struct Lxc {
    containers: PathBuf,
    many: PathBuf,
    template: PathBuf,
    pid_file: PathBuf,
    cgroups: Cgroups,
}

/// Installs the package where it is missing, without its services.
pub fn install() -> Result<()> {
    if apt::is_installed(&apt::LXC) || !Path::new("/run/systemd/system").exists() {
        return apt::ensure(&[apt::LXC]);
    }
    let systemctl = |verb: &str| {
        let mut command = Command::new("systemctl");
        command.args([verb, "--runtime", "--quiet"]).args(SERVICES);
        process::run(&mut command, &format!("systemctl {verb}"))
    };
    systemctl("mask")?;
    let installed = apt::ensure(&[apt::LXC]);
    installed.and(systemctl("unmask"))
}

impl Lxc {
    /// One container of `image`, and what others are made of.
    pub fn new(scratch: &Path, image: &Path) -> Result<Self> {
        let directory = scratch.join("lxc");
        let lxc = Self {
            containers: directory.join("containers"),
            many: directory.join("many"),
            template: directory.join("template"),
            pid_file: directory.join("pid"),
            cgroups: Cgroups::new("lxc"),
        };
        let container = lxc.containers.join(CONTAINER);
        let rootfs = container.join("rootfs");
        for path in [&directory, &lxc.containers, &container, &rootfs] {
            fs::create_dir(path).of("create", path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).of("chmod", path)?;
        }
        unpack(image, &rootfs).of("unpack", image)?;
        lxc.configure(&lxc.containers, CONTAINER)?;
        let script = format!(
            "#!/bin/sh\nfor it; do case $it in --rootfs=*) to=${{it#*=}};; esac; done\n\
             exec cp -a {}/. \"$to\"/\n",
            rootfs.display()
        );
        fs::write(&lxc.template, script).of("write", &lxc.template)?;
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&lxc.template, executable).of("chmod", &lxc.template)?;
        Ok(lxc)
    }

    fn configure(&self, containers: &Path, id: &str) -> Result<()> {
        let path = containers.join(id).join("config");
        let text = format!(
            "lxc.include = /usr/share/lxc/config/common.conf\n\
             lxc.include = /usr/share/lxc/config/userns.conf\n\
             lxc.uts.name = {id}\n\
             lxc.rootfs.path = dir:{}/{id}/rootfs\n\
             lxc.rootfs.options = idmap=container\n\
             lxc.idmap = u 0 1000000 65536\n\
             lxc.idmap = g 0 1000000 65536\n\
             lxc.net.0.type = empty\n\
             lxc.apparmor.profile = unconfined\n\
             lxc.cgroup.dir = {}\n",
            containers.display(),
            self.cgroups.name(),
        );
        fs::write(&path, text).of("write", &path)
    }

    /// What is done to the container of the rounds.
    pub fn command(&self, action: Action) -> Command {
        match action {
            Action::Start => {
                let mut command = self.program("lxc-start", CONTAINER);
                command.args(["-d", "-p"]).arg(&self.pid_file);
                command
            }
            Action::Exec => {
                let mut command = self.program("lxc-attach", CONTAINER);
                command.args(["--", "/bin/true"]);
                command
            }
            Action::List => list(&self.containers),
            Action::Stop => {
                let mut command = self.program("lxc-stop", CONTAINER);
                command.arg("-k");
                command
            }
        }
    }

    /// Process id of the running container's monitor.
    pub fn monitor(&self) -> Result<u32> {
        let text = fs::read_to_string(&self.pid_file).of("read", &self.pid_file)?;
        text.trim()
            .parse()
            .map_err(|_| Error::Other(format!("{} has no number", self.pid_file.display())))
    }

    /// The command that makes a container by copying the root file system.
    pub fn creation(&self, id: &str) -> Command {
        let mut command = self.program("lxc-create", id);
        command.args(["-f", "/dev/null", "-t"]).arg(&self.template);
        command
    }

    /// Makes many containers that only are to be listed.
    pub fn make_many(&self, count: u32) -> Result<()> {
        for number in 0..count {
            let id = format!("many{number}");
            let path = self.many.join(&id);
            fs::create_dir_all(&path).of("create", &path)?;
            self.configure(&self.many, &id)?;
        }
        Ok(())
    }

    /// The command that lists them.
    pub fn list_many(&self) -> Command {
        list(&self.many)
    }

    fn program(&self, name: &str, id: &str) -> Command {
        let mut command = Command::new(name);
        command.arg("-P").arg(&self.containers).args(["-n", id]);
        command
    }
}

impl Drop for Lxc {
    fn drop(&mut self) {
        let mut command = self.command(Action::Stop);
        command.stdin(Stdio::null());
        // One that does not run can't be stopped.
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

fn list(containers: &Path) -> Command {
    let mut command = Command::new("lxc-ls");
    command.arg("-P").arg(containers).arg("--fancy");
    command
}

/// Unpacks the root file system of an image.
fn unpack(image: &Path, to: &Path) -> io::Result<()> {
    let mut outer = tar::Archive::new(File::open(image)?);
    for entry in outer.entries()? {
        let entry = entry?;
        if entry.path()?.as_os_str() == "rootfs/base.tar.gz" {
            let mut rootfs = tar::Archive::new(GzDecoder::new(entry));
            rootfs.set_preserve_permissions(true);
            rootfs.set_preserve_ownerships(true);
            return rootfs.unpack(to);
        }
    }
    Err(io::Error::other("it has no rootfs/base.tar.gz"))
}
