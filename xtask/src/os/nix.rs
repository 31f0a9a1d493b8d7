//! Nix as Debian packages it, told everything by its environment: nothing
//! outside the cache is configured. Owns its command line and its progress.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::index;
use crate::error::{Error, FileContext as _, Result};
use crate::process::{self, Program, Stop};
use crate::{ui, workspace};

/// Single user, no binary cache but our own: all of it is built here. The shell
/// is for builders that call system(3).
const CONFIGURATION: &str = "build-users-group =
sandbox = true
sandbox-paths = /bin/sh=/usr/bin/busybox
experimental-features = nix-command flakes
max-jobs = auto
require-sigs = false
fallback = true
narinfo-cache-negative-ttl = 0
";

/// What a builder begins a line with that is for whoever waits.
const TOLD: &str = "progress: ";

/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(3);

/// How many lines are shown of a build that fails.
const SHOWN: usize = 40;

/// What a build is made from.
#[derive(Debug)]
pub struct Builder<'a> {
    /// Directory of what Nix is configured with.
    pub cache: &'a Path,
    /// The host's configuration.
    pub configuration: &'a Path,
    /// Directory of our programs.
    pub programs: &'a Path,
    /// The lock of the package set.
    pub lock: &'a Path,
}

/// How a build ended that did not fail.
#[derive(Debug)]
pub enum Built {
    /// It is there.
    Yes,
    /// The mirror has no longer what the lock names.
    ArchiveIsGone,
}

impl Built {
    /// For whom a lock is new.
    pub fn or_error(self) -> Result<()> {
        match self {
            Self::Yes => Ok(()),
            Self::ArchiveIsGone => Err(Error::Other(
                "the mirror lacks archives that its index names".to_owned(),
            )),
        }
    }
}

impl Builder<'_> {
    /// Builds `attribute` of the image and links it at `out`.
    pub fn build(&self, attribute: &str, out: &Path) -> Result<Built> {
        ui::step(format!("building {attribute} with Nix"));
        if let Some(parent) = out.parent() {
            fs::create_dir_all(parent).of("create", parent)?;
        }
        let mut command = self.command(attribute, out)?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut program = Program::spawn(&mut command, "nix-build", Stop::Gently)?;
        let mut last = VecDeque::new();
        if let Some(stderr) = program.child().stderr.take() {
            let mut progress = Progress::default();
            for line in BufReader::new(stderr).split(b'\n') {
                let line = line.of("read from", "nix-build")?;
                let line = String::from_utf8_lossy(&line).into_owned();
                progress.see(&line);
                last.push_back(line);
                if last.len() > SHOWN {
                    last.pop_front();
                }
            }
        }
        match program.wait() {
            Ok(()) => Ok(Built::Yes),
            Err(Error::Program { .. }) if last.iter().any(|line| is_gone(line)) => {
                Ok(Built::ArchiveIsGone)
            }
            Err(error) => {
                if let Error::Program { .. } = error {
                    last.iter().for_each(ui::detail);
                }
                Err(error)
            }
        }
    }

    /// Keeps what took long to build, which the image at `out` names, for a
    /// machine or a store that does not have it.
    pub fn keep_slow(&self, out: &Path) -> Result<()> {
        let list = out.join("slow");
        let list = fs::read_to_string(&list).of("read", &list)?;
        let Some(store) = self.store() else {
            return Ok(());
        };
        for path in list.lines() {
            let name = path.rsplit('/').next().unwrap_or(path);
            let hash = name.split('-').next().unwrap_or(name);
            if self.cache.join(format!("store/{hash}.narinfo")).exists() {
                continue;
            }
            ui::detail(format!("keeping {name}"));
            let mut copy = Command::new("nix");
            copy.env("NIX_CONF_DIR", self.cache.join("nix"))
                .args(["copy", "--to", &store, path]);
            process::run(&mut copy, "nix copy")?;
        }
        Ok(())
    }

    /// The binary cache as Nix calls it; a path that its configuration can't
    /// hold is none.
    fn store(&self) -> Option<String> {
        let path = self.cache.join("store").to_str()?.to_owned();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        path.chars()
            .all(is_plain)
            .then(|| format!("file://{path}?compression=none"))
    }

    fn command(&self, attribute: &str, out: &Path) -> Result<Command> {
        let configuration = self.cache.join("nix");
        fs::create_dir_all(&configuration).of("create", &configuration)?;
        let file = configuration.join("nix.conf");
        let substituters = self.store().unwrap_or_default();
        let text = format!("{CONFIGURATION}substituters = {substituters}\n");
        fs::write(&file, text).of("write", &file)?;
        let bootstrap = self.cache.join("bootstrap");
        let bin = bootstrap.join("bin");
        fs::create_dir_all(&bin).of("create", &bin)?;
        let busybox = bin.join("busybox");
        fs::copy("/usr/bin/busybox", &busybox).of("write", &busybox)?;

        let os = workspace::root().join("os");
        let packages = format!(
            "import {} {{ lock = {}; mirror = {}; bootstrap = {}; }}",
            path(&os.join("packages/debian")),
            path(self.lock),
            string(&index::mirror()?),
            path(&bootstrap),
        );
        let configured = format!(
            "{{ imports = [ {} ]; osctl.programs = {}; }}",
            path(self.configuration),
            path(self.programs),
        );
        let mut command = Command::new("nix-build");
        command
            .env("NIX_CONF_DIR", &configuration)
            .env_remove("NIX_REMOTE")
            .arg(&os)
            .args(["--attr", attribute, "--arg", "pkgs", &packages])
            .args(["--arg", "configuration", &configured, "--out-link"])
            .arg(out);
        Ok(command)
    }
}

/// A Nix expression of a string.
fn string(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", text.replace("${", "\\${"))
}

/// A Nix expression of an absolute path, which may have any characters.
fn path(path: &Path) -> String {
    format!("(/. + {})", string(&path.to_string_lossy()))
}

fn is_gone(line: &str) -> bool {
    line.contains("unable to download") && line.contains("HTTP error 404")
}

/// How far a build is, by what Nix says.
#[derive(Debug, Default)]
struct Progress {
    all: usize,
    begun: usize,
    told: Option<Instant>,
}

impl Progress {
    fn see(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("these ") {
            let count = rest.split(' ').next().and_then(|it| it.parse().ok());
            self.all += count.unwrap_or(0);
        }
        if let Some(told) = line.strip_prefix(TOLD) {
            return ui::detail(told);
        }
        let Some(rest) = line.strip_prefix("building '/nix/store/") else {
            return;
        };
        if rest.contains("-zfs-modules-") {
            ui::step("building the modules of ZFS: about six minutes on two cores");
        }
        self.begun += 1;
        if self.told.is_some_and(|told| told.elapsed() < PROGRESS) {
            return;
        }
        self.told = Some(Instant::now());
        let name = rest.split_once('-').map_or(rest, |(_, name)| name);
        let name = name.split(".drv").next().unwrap_or(name);
        ui::detail(format!(
            "{}/{} {name}",
            self.begun,
            self.all.max(self.begun)
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_is_an_expression() {
        assert_eq!(
            path(Path::new("/a b/\"${c}\\")),
            r#"(/. + "/a b/\"\${c}\\")"#
        );
    }

    #[test]
    fn progress_is_counted() {
        let mut progress = Progress::default();
        progress.see("these 12 derivations will be built:");
        progress.see("building '/nix/store/abc-deb-bash-5.drv'...");
        assert_eq!((progress.all, progress.begun), (12, 1));
    }
}
