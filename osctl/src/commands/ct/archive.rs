//! `osctl ct export` and `osctl ct import`: archives are files of the user's, opened here, or standard
//! streams, handed on here; the daemon is given descriptors.

use std::fs::{File, OpenOptions};
use std::io::{PipeReader, PipeWriter};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use osctl_api::archive::{self as api, Compression, Format};
use osctl_api::names::Ref;
use rustix::fs::{AtFlags, CWD, OFlags};

use crate::context::Context;
use crate::failure::{DONE, Failure, Outcome};
use crate::tree::Verb;
use crate::ui::Stream;

/// Who may read an archive: it has all files of a container, the secret ones too.
const MODE: u32 = 0o600;

/// Export a container to an archive, which `ct import` makes it from again, here or elsewhere
///
/// A running container is stopped for its copy and started again: on ZFS as soon as there is a
/// snapshot of it.
#[derive(Debug, clap::Args)]
pub struct Export {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Archive to write, which must not exist; - for standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Stop the container for its copy, which is the default
    #[arg(long, overrides_with = "no_consistent")]
    consistent: bool,
    /// Copy it while it runs
    #[arg(long, overrides_with = "consistent")]
    no_consistent: bool,
    /// How its data stand in the archive
    #[arg(long, value_enum, default_value = "auto", value_name = "FORMAT")]
    format: Format,
    /// How its data are compressed
    #[arg(
        short,
        long,
        value_enum,
        default_value = "auto",
        value_name = "COMPRESSION"
    )]
    compression: Compression,
    /// Leave its hooks out
    #[arg(long)]
    no_hooks: bool,
    /// Read no more than this many bytes a second, with suffix k, m or g for multiples of 1024
    #[arg(long, value_name = "RATE", value_parser = osctl_api::size::parse_rate)]
    limit: Option<u64>,
    /// Its snapshots too, which streams of ZFS have room for
    #[arg(long)]
    snapshots: bool,
    /// Replace the archive when it exists
    #[arg(short, long)]
    force: bool,
}

impl Verb for Export {
    fn run(self, cx: &mut Context) -> Outcome {
        let piped = is_standard(&self.file);
        if piped && Stream::Out.is_tty() {
            return Err(Failure::usage(
                "an archive is not written to a terminal: redirect standard output, or name a file",
            ));
        }
        if !piped && !self.force && self.file.symlink_metadata().is_ok() {
            return Err(exists(&self.file));
        }
        let params = api::Export {
            id: cx.on_pool(self.id),
            live: self.no_consistent,
            format: self.format,
            compression: self.compression,
            no_hooks: self.no_hooks,
            limit: self.limit,
            snapshots: self.snapshots,
        };
        let exported = if piped {
            to_stdout(cx, &params)?
        } else {
            let output = Output::new(&self.file)?;
            let exported = cx.daemon.progress_fd(&cx.ui, &params, &output.file)?;
            output.publish(self.force)?;
            exported
        };
        for warning in &exported.warnings {
            cx.ui.note(warning);
        }
        match piped {
            // Nothing but the archive is on standard output.
            true => Ok(DONE),
            false => cx.object(&exported),
        }
    }
}

fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

fn pipe() -> Result<(PipeReader, PipeWriter), Failure> {
    std::io::pipe().map_err(|e| Failure::local("cannot make a pipe", &e))
}

/// The daemon writes to a pipe, which is handed on from here: so standard output may be anything.
fn to_stdout(cx: &mut Context, params: &api::Export) -> Result<api::Exported, Failure> {
    let (from, to) = pipe()?;
    let relay = std::thread::spawn(move || Stream::Out.write_from(from));
    let exported = cx.daemon.progress_fd(&cx.ui, params, &to);
    drop(to);
    let lost = std::io::Error::other("a thread failed");
    match (relay.join().unwrap_or(Err(lost)), exported) {
        // The daemon knows only that nobody reads its pipe any more.
        (Err(e), _) => Err(Failure::local("cannot write to standard output", &e)),
        (Ok(()), exported) => exported,
    }
}

/// Standard input is handed on to a pipe, which the daemon reads.
fn from_stdin(cx: &mut Context, params: &api::Import) -> Result<api::Imported, Failure> {
    let (from, to) = pipe()?;
    let relay = std::thread::spawn(move || Stream::In.read_into(to));
    let imported = cx.daemon.progress_fd(&cx.ui, params, &from);
    // It may still wait for something to read, which nobody waits for any more.
    if relay.is_finished()
        && let Ok(Err(e)) = relay.join()
        && e.kind() != std::io::ErrorKind::BrokenPipe
    {
        return Err(Failure::local("cannot read standard input", &e));
    }
    imported
}

fn exists(path: &Path) -> Failure {
    Failure::usage(format!(
        "{} exists already: use --force to replace it",
        path.display()
    ))
}

fn cannot(path: &Path, e: impl Into<std::io::Error>) -> Failure {
    Failure::local(format!("cannot write {}", path.display()), &e.into())
}

/// A file that has no name before it is complete, where the file system has such files; else one
/// that has another name until then.
struct Output {
    file: File,
    path: PathBuf,
    /// Its name for now.
    draft: Option<PathBuf>,
}

impl Output {
    fn new(path: &Path) -> Result<Output, Failure> {
        let dir = directory(path);
        let nameless = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let opened = rustix::fs::open(dir, nameless, MODE.into());
        if let Ok(file) = opened {
            return Ok(Output {
                file: file.into(),
                path: path.to_owned(),
                draft: None,
            });
        }
        let draft = draft(path)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(&draft)
            .map_err(|e| cannot(path, e))?;
        Ok(Output {
            file,
            path: path.to_owned(),
            draft: Some(draft),
        })
    }

    /// Gives the file its name; what has it is replaced only by force.
    fn publish(mut self, force: bool) -> Result<(), Failure> {
        let failed = |e: rustix::io::Errno| match e {
            rustix::io::Errno::EXIST => exists(&self.path),
            e => cannot(&self.path, e),
        };
        if self.draft.is_none() {
            let to = if force {
                draft(&self.path)?
            } else {
                self.path.clone()
            };
            let from = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            rustix::fs::linkat(CWD, from, CWD, &to, AtFlags::SYMLINK_FOLLOW).map_err(failed)?;
            self.draft = force.then_some(to);
        }
        if let Some(draft) = &self.draft {
            match force {
                true => rustix::fs::rename(draft, &self.path).map_err(failed)?,
                false => rustix::fs::link(draft, &self.path).map_err(failed)?,
            }
        }
        let dir = File::open(directory(&self.path)).map_err(|e| cannot(&self.path, e))?;
        dir.sync_all().map_err(|e| cannot(&self.path, e))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(draft) = &self.draft {
            // after a rename, it is gone already
            let _ = std::fs::remove_file(draft);
        }
    }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// A name beside that of the archive.
fn draft(path: &Path) -> Result<PathBuf, Failure> {
    let name = path
        .file_name()
        .ok_or_else(|| Failure::usage(format!("{} is no name of a file", path.display())))?;
    let mut draft = std::ffi::OsString::from(".");
    draft.push(name);
    draft.push(format!(".{}.new", std::process::id()));
    Ok(path.with_file_name(draft))
}

/// Make a container from an archive of osctl or vpsAdminOS
///
/// Unless told otherwise, the container has the id and group that the archive names and an id map of
/// its own, which no other container shares.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Import {
    /// Archive to read; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    params: api::Import,
}

impl Verb for Import {
    fn run(mut self, cx: &mut Context) -> Outcome {
        self.params.id = self.params.id.map(|id| cx.on_pool(id));
        self.params.pool = cx.pool.clone();
        let imported = if is_standard(&self.file) {
            if Stream::In.is_tty() {
                return Err(Failure::usage(
                    "an archive is not read from a terminal: redirect standard input, or name a file",
                ));
            }
            from_stdin(cx, &self.params)?
        } else {
            let opened = OpenOptions::new()
                .read(true)
                .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
                .open(&self.file);
            let file = opened
                .map_err(|e| Failure::local(format!("cannot open {}", self.file.display()), &e))?;
            cx.daemon.progress_fd(&cx.ui, &self.params, &file)?
        };
        for warning in &imported.warnings {
            cx.ui.note(warning);
        }
        cx.object(&imported)
    }
}
