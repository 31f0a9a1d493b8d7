//! Builder `mmdebstrap`: a root file system of Debian packages. Owns the
//! command line, the sandbox the program runs in and what is told of its
//! progress.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, Stdio};
use std::thread::{self, JoinHandle};

use super::Compression;
use super::recipe::{DebianImage, Selection};
use crate::error::{Error, FileContext as _, Result};
use crate::process::{Program, Stop};
use crate::{apt, ui};

/// Builds the root file system in `work`; the path of its compressed tar.
pub fn build(selection: &Selection, debian: &DebianImage, work: &Path) -> Result<PathBuf> {
    apt::require_root("build a root file system")?;
    apt::ensure(&[apt::MMDEBSTRAP, apt::KEYRING_TRIXIE, apt::ZSTD])?;
    let mirrors = apt::mirrors()?;
    let rootfs = work.join(format!("base.tar.{}", selection.compression.extension()));
    let mut sandbox = sandbox(work);
    sandbox.args(options(selection, debian)?);
    let stdin = match &mirrors.archive {
        Some(archive) => {
            let sources = sources(debian, archive, mirrors.security.as_deref());
            let path = work.join("debian.sources");
            fs::write(&path, sources).of("write", &path)?;
            sandbox
                .env("OSCTL_SOURCES", &path)
                .args([&debian.release, "-", "-"]);
            Stdio::from(File::open(&path).of("open", &path)?)
        }
        None => {
            sandbox.args([&debian.release, "-"]);
            Stdio::null()
        }
    };
    sandbox
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut program = Program::spawn(&mut sandbox, "mmdebstrap", Stop::AtOnce)?;
    let Some(tar) = program.child().stdout.take() else {
        return Err(Error::Other("mmdebstrap has no output".to_owned()));
    };
    let compressor = Compressor::start(selection.compression, tar, &rootfs)?;
    let log = program
        .child()
        .stderr
        .take()
        .map(follow)
        .unwrap_or_default();
    // The end of its output came when every process of the sandbox was gone.
    let built = program.wait().and_then(|()| compressor.wait());
    if let Err(Error::Program { .. }) = &built {
        log.iter().for_each(ui::detail);
    }
    built.map(|()| rootfs)
}

/// Namespaces of its own: its mounts and processes end with it, and it ends
/// with the task, whatever ends that.
fn sandbox(work: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args([
        "--pdeathsig",
        "KILL",
        "unshare",
        "--mount",
        "--pid",
        "--fork",
    ]);
    command.args(["--mount-proc", "--kill-child", "mmdebstrap"]);
    command
        .env("TMPDIR", work)
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn options(selection: &Selection, debian: &DebianImage) -> Result<Vec<OsString>> {
    let DebianImage {
        recipe, variant, ..
    } = debian;
    let packages: Vec<&str> = debian.packages().map(String::as_str).collect();
    let mut options: Vec<String> = [
        "--mode=root",
        "--format=tar",
        "--variant=apt",
        "--skip=output/dev",
    ]
    .map(str::to_owned)
    .into();
    options.push(format!("--include={}", packages.join(",")));
    options.push(format!("--components={}", recipe.components.join(",")));
    options.push(format!("--keyring={}", recipe.keyring));
    options.extend(
        recipe
            .path_exclude
            .iter()
            .map(|it| format!("--dpkgopt=path-exclude={it}")),
    );
    options.extend(
        recipe
            .path_include
            .iter()
            .map(|it| format!("--dpkgopt=path-include={it}")),
    );
    options.push("--dpkgopt=force-unsafe-io".to_owned());
    options.extend(
        apt::access_options()?
            .iter()
            .map(|it| format!("--aptopt={it}")),
    );
    let mut options: Vec<OsString> = options.into_iter().map(OsString::from).collect();
    for hook in ["common", variant] {
        let mut option = OsString::from("--customize-hook=");
        option.push(selection.directory.join("hooks").join(format!("{hook}.sh")));
        options.push(option);
    }
    Ok(options)
}

/// The image's own sources, in the form that apt prefers today.
fn sources(debian: &DebianImage, archive: &str, security: Option<&str>) -> String {
    let DebianImage {
        recipe, release, ..
    } = debian;
    let stanza = |uri: &str, suites: &str| {
        let components = recipe.components.join(" ");
        let keyring = &recipe.keyring;
        format!(
            "Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: {components}\n\
             Signed-By: {keyring}\n"
        )
    };
    let mut text = stanza(archive, &format!("{release} {release}-updates"));
    if let Some(security) = security {
        text.push('\n');
        text.push_str(&stanza(security, &format!("{release}-security")));
    }
    text
}

/// The compressor that turns what `tar` gives into `rootfs`.
struct Compressor {
    program: Program,
    feeder: JoinHandle<io::Result<()>>,
}

impl Compressor {
    fn start(
        compression: Compression,
        tar: impl Read + Send + 'static,
        rootfs: &Path,
    ) -> Result<Self> {
        let mut command = match compression {
            Compression::Zstd => Command::new("zstd"),
            Compression::Gzip => Command::new("gzip"),
        };
        match compression {
            Compression::Zstd => command.args(["-q", "-T0", "-10"]),
            Compression::Gzip => command.arg("-n"),
        };
        let file = File::create_new(rootfs).of("create", rootfs)?;
        command.stdin(Stdio::piped()).stdout(file);
        let name = "compressing the root file system";
        let mut program = Program::spawn(&mut command, name, Stop::Gently)?;
        let input = program.child().stdin.take();
        let feeder = thread::spawn(move || input.map_or(Ok(()), |input| feed(input, tar)));
        Ok(Self { program, feeder })
    }

    fn wait(self) -> Result<()> {
        let fed = self
            .feeder
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("it panicked")));
        self.program.wait()?;
        fed.of("write to", "the compressor")
    }
}

/// mmdebstrap's `/dev` would have device nodes in it; the image has it empty.
fn feed(mut input: impl Write, mut tar: impl Read) -> io::Result<()> {
    let mut dev = tar::Header::new_gnu();
    dev.set_entry_type(tar::EntryType::Directory);
    dev.set_path("./dev/")?;
    dev.set_mode(0o755);
    dev.set_uid(0);
    dev.set_gid(0);
    dev.set_size(0);
    dev.set_mtime(0);
    dev.set_cksum();
    input.write_all(dev.as_bytes())?;
    io::copy(&mut tar, &mut input).map(drop)
}

/// How much of the program's output is shown when it fails.
const LOG_LINES: usize = 40;

/// Shows its progress until its output ends; the last lines of all it said.
fn follow(stderr: ChildStderr) -> VecDeque<String> {
    let mut log = VecDeque::new();
    // A line that never ends must not fill the memory.
    let mut reader = BufReader::new(stderr.take(64 << 20));
    let mut line = Vec::new();
    while reader
        .read_until(b'\n', &mut line)
        .is_ok_and(|read| read > 0)
    {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if let Some(progress) = text.strip_prefix("I: ").filter(|it| it.ends_with("...")) {
            ui::detail(progress.trim_end_matches('.'));
        }
        if log.len() == LOG_LINES {
            log.pop_front();
        }
        log.push_back(text);
        line.clear();
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::recipe::{Builder, select};

    #[test]
    fn sources_name_every_suite() {
        let templates = crate::workspace::root().join("templates");
        let selection = select(&templates, "debian/trixie", None).unwrap();
        let Builder::Mmdebstrap(debian) = &selection.builder else {
            panic!("{selection:?}")
        };
        let text = sources(debian, "mirror:/archive", Some("mirror:/security"));
        assert!(text.contains("URIs: mirror:/archive\nSuites: trixie trixie-updates\n"));
        assert!(text.contains("URIs: mirror:/security\nSuites: trixie-security\n"));
        assert!(!sources(debian, "mirror:/archive", None).contains("security"));
    }
}
