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
const TEMPLATE: &str = "debian/trixie";

/// What waits in the container until its systemd is done, one way or the
/// other; it prints how.
const WAIT_FOR_BOOT: &str = "\
    for i in $(seq 600); do [ -S /run/systemd/private ] && break; sleep 0.1; done; \
    timeout 120 systemctl is-system-running --wait";

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
        if !self.exists(&["ct", "show", CONTAINER])? {
            ui::step(format!("making container {CONTAINER} of {TEMPLATE}"));
            let image = image.display().to_string();
            self.osctl(&["ct", "new", "--from-archive", &image, CONTAINER])?;
        }
        if self.state()? != "running" {
            ui::step(format!("starting container {CONTAINER}"));
            self.osctl(&["ct", "start", CONTAINER])?;
        }
        ui::step("waiting until its systemd has started everything");
        self.judge_boot()?;
        ui::step("done");
        self.show(&image.display().to_string())
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
        for arguments in [["ct", "ls", ""], ["ct", "show", CONTAINER]] {
            let arguments: Vec<&str> = arguments.into_iter().filter(|it| !it.is_empty()).collect();
            ui::say(format!("\n$ osctl {}", arguments.join(" ")));
            ui::say(process::output(&mut self.command(&arguments), "osctl")?.trim_end());
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
    fn state(&self) -> Result<String> {
        let text = process::output(
            &mut self.command(&["--json", "ct", "show", CONTAINER]),
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
