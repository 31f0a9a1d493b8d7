//! `cargo xtask demo`: a Debian container on this machine, with nothing
//! installed but what apt brings, and its removal. Owns the order of the
//! steps; each one finds out whether it is done already.

mod daemon;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::error::{Error, FileContext as _, Result};
use crate::{apt, process, release, template, ui, workspace};
use daemon::Daemon;

const POOL: &str = "demo";
const CONTAINER: &str = "demo";
/// Its neighbour: on the same bridge, and with an address that the host routes to it.
const NEIGHBOUR: &str = "demo2";
const BRIDGE: &str = "osbr0";
/// One of those that are for examples (RFC 5737).
const ROUTED: &str = "192.0.2.2";
const TEMPLATE: &str = "debian/trixie";

/// What waits in the container until its systemd is done, one way or the
/// other; it prints how.
const WAIT_FOR_BOOT: &str = "\
    for i in $(seq 600); do [ -S /run/systemd/private ] && break; sleep 0.1; done; \
    timeout 120 systemctl is-system-running --wait";

/// What waits in the container until it has an IPv4 address on its interface; it prints that.
const WAIT_FOR_ADDRESS: &str = "\
    for i in $(seq 300); do \
        a=$(hostname -I | tr ' ' '\\n' | grep -m 1 '^10\\.'); \
        [ -n \"$a\" ] && echo $a && break; sleep 0.1; \
    done";

/// Arguments of `cargo xtask demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Remove all that the demo has made: containers, daemon, files.
    #[arg(long)]
    clean: bool,
}

/// Makes the demo, or removes it.
pub fn run(args: &Args) -> Result<()> {
    apt::require_root("run containers")?;
    let demo = Demo {
        programs: workspace::target().join("release"),
        daemon: Daemon::new(PathBuf::from("/var/tmp/osctl-demo")),
    };
    match args.clean {
        true => demo.clean(),
        false => demo.make(),
    }
}

struct Demo {
    programs: PathBuf,
    daemon: Daemon,
}

impl Demo {
    fn make(&self) -> Result<()> {
        apt::ensure(&[apt::DNSMASQ, apt::BUSYBOX])?;
        release::build()?;
        let image = template::ensure(TEMPLATE)?;
        self.daemon.ensure_running(&self.programs)?;
        if !self.exists(&["pool", "show", POOL])? {
            ui::step(format!("making pool {POOL}"));
            let directory = self.daemon.pool_directory();
            self.osctl(&[
                "pool",
                "install",
                POOL,
                "--dir",
                &directory.display().to_string(),
            ])?;
        }
        for container in [CONTAINER, NEIGHBOUR] {
            if !self.exists(&["ct", "show", container])? {
                ui::step(format!("making container {container} of {TEMPLATE}"));
                let image = image.display().to_string();
                self.osctl(&["ct", "new", "--from-archive", &image, container])?;
            }
            let new = ["ct", "netif", "new"];
            self.interface(
                container,
                "eth0",
                &[&new[..], &["bridge", "--link", BRIDGE]].concat(),
            )?;
        }
        if self.interface(NEIGHBOUR, "eth1", &["ct", "netif", "new", "routed"])? {
            self.osctl(&["ct", "netif", "ip", "add", NEIGHBOUR, "eth1", ROUTED])?;
        }
        for container in [NEIGHBOUR, CONTAINER] {
            if self.state(container)? != "running" {
                ui::step(format!("starting container {container}"));
                self.osctl(&["ct", "start", container])?;
            }
        }
        ui::step("waiting until its systemd has started everything");
        self.judge_boot()?;
        self.judge_network()?;
        ui::step("done");
        self.show(&image.display().to_string())
    }

    /// Makes an interface, unless the container has one of that name; says whether it had not.
    fn interface(&self, container: &str, name: &str, new: &[&str]) -> Result<bool> {
        let list = ["ct", "netif", "ls", "-H", "-o", "name", container];
        let has = process::output(&mut self.command(&list), "osctl ct netif ls")?;
        if has.lines().any(|line| line.trim() == name) {
            return Ok(false);
        }
        self.osctl(&[new, &[container, name]].concat())?;
        Ok(true)
    }

    /// Whether the network does what it is for.
    fn judge_network(&self) -> Result<()> {
        ui::step("waiting for the network");
        let address = self.inside(&["sh", "-c", WAIT_FOR_ADDRESS])?;
        let address = address.trim();
        if address.is_empty() {
            return Err(Error::Other(format!(
                "container {CONTAINER} got no address"
            )));
        }
        ui::detail(format!("{CONTAINER} has the address {address}, by DHCP"));
        let name = format!("{NEIGHBOUR}.osctl");
        let found = self.inside(&["getent", "hosts", &name])?;
        ui::detail(format!("{CONTAINER} knows {name} as {}", found.trim()));
        if found.trim().is_empty() {
            return Err(Error::Other(format!(
                "container {CONTAINER} does not find {name}"
            )));
        }
        for address in [address, ROUTED] {
            let mut ping = Command::new("busybox");
            ping.args(["ping", "-c", "1", "-W", "10", address]);
            process::output(&mut ping, &format!("ping {address}"))?;
            ui::detail(format!("the host reaches {address}"));
        }
        Ok(())
    }

    fn judge_boot(&self) -> Result<()> {
        let state = self.inside(&["sh", "-c", WAIT_FOR_BOOT])?;
        ui::detail(format!("systemd says: {}", state.trim()));
        if state.trim() == "degraded" {
            for unit in self
                .inside(&["systemctl", "--failed", "--plain", "--no-legend"])?
                .lines()
            {
                ui::detail(format!("failed: {unit}"));
            }
        }
        match state.trim() {
            "running" | "degraded" => Ok(()),
            _ => Err(Error::Other(format!(
                "container {CONTAINER} did not start up"
            ))),
        }
    }

    fn show(&self, image: &str) -> Result<()> {
        let list = "id,state,memory,cpu_us,nproc";
        let netifs = "ctid,name,type,link,addresses,leases";
        for arguments in [
            &["ct", "ls", "-o", list][..],
            &["ct", "netif", "ls", "-o", netifs],
        ] {
            ui::say(format!("\n$ osctl {}", arguments.join(" ")));
            ui::say(process::output(&mut self.command(arguments), "osctl")?.trim_end());
        }
        ui::say(format!(
            "\nFor these commands in your shell:\n\
             \n    export PATH={}:$PATH OSCTL_SOCKET={}\n\
             \nEnter it:          osctl ct exec {CONTAINER} bash\
             \nSee its console:   osctl ct console {CONTAINER}\
             \nMake another:      osctl ct new --from-archive {image} web1\
             \n                   osctl ct start web1\
             \nLog of the daemon: {}\
             \nRemove it all:     cargo xtask demo --clean",
            self.programs.display(),
            self.daemon.socket().display(),
            self.daemon.log().display(),
        ));
        Ok(())
    }

    fn clean(&self) -> Result<()> {
        if !self.daemon.directory().exists() {
            ui::step("nothing is left to remove");
            return Ok(());
        }
        if self.programs.join("osctld").exists() {
            // It knows its containers, also those that outlived it.
            self.daemon.ensure_running(&self.programs)?;
            ui::step("stopping the containers");
            self.osctl(&["shutdown", "--force"])?;
        }
        self.daemon.stop()?;
        self.daemon.remove_cgroups()?;
        let directory = self.daemon.directory();
        ui::step(format!("removing {}", directory.display()));
        std::fs::remove_dir_all(directory).of("remove", directory)
    }

    /// State of the container.
    fn state(&self, container: &str) -> Result<String> {
        let text = process::output(
            &mut self.command(&["--json", "ct", "show", container]),
            "osctl",
        )?;
        let shown: Shown = serde_json::from_str(&text)
            .map_err(|error| Error::Other(format!("osctl ct show: {error}")))?;
        Ok(shown.state)
    }

    /// What a program in the container prints, whatever its exit status.
    fn inside(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(&["ct", "exec", CONTAINER]);
        let output = process::output_of_any(command.args(arguments), "osctl ct exec")?;
        Ok(output.1)
    }

    fn exists(&self, show: &[&str]) -> Result<bool> {
        let mut command = self.command(show);
        Ok(
            process::output_of_any(command.stderr(Stdio::null()), "osctl")?
                .0
                .success(),
        )
    }

    fn osctl(&self, arguments: &[&str]) -> Result<()> {
        let mut command = self.command(arguments);
        process::run(&mut command, &format!("osctl {}", arguments.join(" ")))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("osctl"));
        command
            .args(arguments)
            .env("OSCTL_SOCKET", self.daemon.socket());
        command
    }
}

/// The part of `osctl --json ct show` that matters here.
#[derive(serde::Deserialize)]
struct Shown {
    state: String,
}
