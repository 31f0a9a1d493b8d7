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
use crate::process::{Program, Stop};
use crate::{ui, workspace};

/// Single user, no binary caches: all of it is built here. The shell is for
/// builders that call system(3).
const CONFIGURATION: &str = "build-users-group =
sandbox = true
substituters =
sandbox-paths = /bin/sh=/usr/bin/busybox
experimental-features = nix-command flakes
max-jobs = auto
";

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

    fn command(&self, attribute: &str, out: &Path) -> Result<Command> {
        let configuration = self.cache.join("nix");
        fs::create_dir_all(&configuration).of("create", &configuration)?;
        let file = configuration.join("nix.conf");
        fs::write(&file, CONFIGURATION).of("write", &file)?;
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
        let Some(rest) = line.strip_prefix("building '/nix/store/") else {
            return;
        };
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
