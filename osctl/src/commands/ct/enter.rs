//! Running programs in containers: `exec`, `runscript`, `attach`.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;

use osctl_api::container;
use osctl_api::names::Ref;

use crate::context::Context;
use crate::failure::{Failure, NOT_RUN, Outcome};
use crate::terminal::exec::{self, Streams};
use crate::terminal::size;
use crate::tree::Verb;

/// Largest script that is read from something other than a file, in bytes.
const MAX_SCRIPT: u64 = 64 * 1024 * 1024;

/// Run a program in a container
///
/// It gets a terminal when standard input, output and error are one; else these streams are
/// passed as they are. Exit status: that of the program; 128 + N when signal N ended it; 125 when
/// the container could not be entered, 126 when the program can't be executed, 127 when there is
/// no such program.
#[derive(Debug, clap::Args)]
pub struct Exec {
    /// Start a stopped container for this program only, with a minimal init
    #[arg(short, long)]
    run_container: bool,
    /// User in the container: a name of its /etc/passwd, or a number
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Working directory in the container
    #[arg(long, value_name = "PATH")]
    cwd: Option<String>,
    /// Environment variable to add
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<String>,
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

fn variable(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err("use NAME=VALUE".to_owned()),
    }
}

impl Verb for Exec {
    fn run(self, cx: &mut Context) -> Outcome {
        let params = container::Exec {
            command: self.command,
            run: self.run_container,
            user: self.user,
            cwd: self.cwd,
            env: self.env,
            ..plain(cx.on_pool(self.id))
        };
        call(cx, params)
    }
}

/// Open a shell in a container
#[derive(Debug, clap::Args)]
pub struct Attach {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Use the shell that the container's /etc/passwd has for root
    #[arg(short, long)]
    user_shell: bool,
}

impl Verb for Attach {
    fn run(self, cx: &mut Context) -> Outcome {
        let id = cx.on_pool(self.id);
        shell(cx, id, self.user_shell)
    }
}

/// Opens a shell.
///
/// # Errors
/// With status 125 to 127 when it could not be opened.
pub fn shell(cx: &mut Context, id: Ref, user_shell: bool) -> Outcome {
    let params = container::Exec {
        user_shell,
        ..plain(id)
    };
    call(cx, params)
}

fn plain(id: Ref) -> container::Exec {
    container::Exec {
        id,
        command: Vec::new(),
        tty: false,
        rows: None,
        cols: None,
        run: false,
        user: None,
        cwd: None,
        env: Vec::new(),
        user_shell: false,
    }
}

fn call(cx: &mut Context, mut params: container::Exec) -> Outcome {
    let streams = Streams::choose().map_err(|e| no_streams(&e))?;
    if streams.is_terminal() {
        params.tty = true;
        (params.rows, params.cols) = size().unzip();
        params.env.splice(0..0, terminal_type());
    }
    let session = cx
        .daemon
        .call_session(&params, &streams.fds())
        .map_err(|f| f.with_status(NOT_RUN))?;
    exec::run(&cx.ui, session, streams)
}

fn no_streams(e: &std::io::Error) -> Failure {
    Failure::local("cannot prepare the standard streams", e).with_status(NOT_RUN)
}

/// What kind of terminal the user has, for the program to know.
fn terminal_type() -> Option<String> {
    let term = std::env::var("TERM").ok()?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.+".contains(&b);
    (!term.is_empty() && term.len() < 64 && term.bytes().all(plain)).then(|| format!("TERM={term}"))
}

/// Run a script of the host in a container
///
/// Standard input is passed to the script unless it is the script. Exit status as of `ct exec`.
#[derive(Debug, clap::Args)]
#[command(name = "runscript")]
pub struct RunScript {
    /// Start a stopped container for this script only, with a minimal init
    #[arg(short, long)]
    run_container: bool,
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Script, or - to read it from standard input
    #[arg(value_name = "FILE")]
    script: String,
    /// Arguments of the script
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Verb for RunScript {
    fn run(self, cx: &mut Context) -> Outcome {
        let (script, streams) = if self.script == "-" {
            let script = copy(&mut std::io::stdin().lock());
            (script, Streams::without_input())
        } else {
            (open(&self.script), Streams::plain())
        };
        let script = script.map_err(|e| {
            Failure::local(format!("cannot read script {:?}", self.script), &e).with_status(NOT_RUN)
        })?;
        let streams = streams.map_err(|e| no_streams(&e))?;
        let params = container::RunScript {
            id: cx.on_pool(self.id),
            arguments: self.arguments,
            run: self.run_container,
        };
        let mut fds = vec![script.as_fd()];
        fds.extend(streams.fds());
        let session = cx
            .daemon
            .call_session(&params, &fds)
            .map_err(|f| f.with_status(NOT_RUN))?;
        exec::run(&cx.ui, session, streams)
    }
}

fn open(path: &str) -> std::io::Result<File> {
    let mut file = File::open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(std::io::ErrorKind::IsADirectory.into());
    }
    if kind.is_file() {
        return Ok(file);
    }
    copy(&mut file)
}

/// A file in memory with everything that `source` has.
fn copy(source: &mut impl Read) -> std::io::Result<File> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::memfd_create("script", flags)?);
    let mut piece = vec![0u8; 64 * 1024];
    let mut total = 0u64;
    loop {
        let n = match source.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        total += n as u64;
        if total > MAX_SCRIPT {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        file.write_all(&piece[..n])?;
    }
    file.rewind()?;
    Ok(file)
}
