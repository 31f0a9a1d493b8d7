//! The program `zfs`: properties and lists. One run tells of all datasets that are asked for.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::state;
use crate::storage::{Cause, Error, Result};

/// Where it may be, best first.
const PROGRAMS: [&str; 3] = [
    "/run/current-system/sw/bin/zfs",
    "/usr/sbin/zfs",
    "/sbin/zfs",
];
/// How long it may take. A suspended pool keeps it waiting for ever.
const LIMIT: Duration = Duration::from_secs(60);
/// Most bytes that it may say.
const MAX_OUTPUT: usize = 256 << 20;

/// Most bytes of complaints that are told.
const MAX_COMPLAINT: u64 = 64 << 10;

/// What it said and how it ended.
#[derive(Debug)]
struct Output {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    ok: bool,
}

/// One line of its output, split at tabs.
pub(super) type Row = Vec<String>;

/// Runs `zfs` with these arguments, which are about one pool; its lines.
pub(super) fn zfs(pool: &str, args: &[&str]) -> Result<Vec<Row>> {
    zfs_given(pool, args, &[])
}

/// The same, for one that reads what it is given: not more than a pipe holds.
pub(super) fn zfs_given(pool: &str, args: &[&str], input: &[u8]) -> Result<Vec<Row>> {
    state::check(pool)?;
    let shown = || format!("`zfs {}`", args.join(" "));
    let failed = |e: Cause| Error::io("run", shown(), e);
    let output = run(args, input).map_err(failed)?;
    if !output.ok {
        let said = String::from_utf8_lossy(&output.stderr);
        let said: String = said.trim().chars().take(2000).collect();
        return Err(failed(said.into()));
    }
    let text = String::from_utf8(output.stdout).map_err(|e| failed(e.into()))?;
    Ok(rows(&text))
}

/// Runs `zfs`, which writes to `out` for as long as somebody reads that.
pub(super) fn zfs_to(pool: &str, args: &[&str], out: OwnedFd) -> Result<()> {
    state::check(pool)?;
    let failed = |e: Cause| Error::io("run", format!("`zfs {}`", args.join(" ")), e);
    let mut child = command(args)
        .map_err(failed)?
        .stdin(Stdio::null())
        .stdout(Stdio::from(out))
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed(e.into()))?;
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let listened = stderr.take(MAX_COMPLAINT).read_to_end(&mut said);
        listened.map_err(|e| failed(e.into()))?;
    }
    match child.wait().map_err(|e| failed(e.into()))?.success() {
        true => Ok(()),
        false => Err(failed(String::from_utf8_lossy(&said).trim().into())),
    }
}

fn rows(text: &str) -> Vec<Row> {
    let split = |line: &str| line.split('\t').map(str::to_owned).collect();
    text.lines().map(split).collect()
}

/// A number of `-p`; what has none says `-` or `none`.
pub(super) fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

fn command(args: &[&str]) -> std::result::Result<Command, Cause> {
    let program = PROGRAMS
        .iter()
        .find(|p| Path::new(p).exists())
        .ok_or("the program zfs is not installed")?;
    let mut command = Command::new(program);
    command.args(args).env_clear().env("LC_ALL", "C");
    Ok(command)
}

fn run(args: &[&str], input: &[u8]) -> std::result::Result<Output, Cause> {
    let mut child = command(args)?
        .stdin(match input {
            [] => Stdio::null(),
            _ => Stdio::piped(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not want it says why.
        let _ = stdin.write_all(input);
    }
    let said = listen(&mut child, Instant::now() + LIMIT);
    if said.is_err() {
        // It may be waiting in the kernel, where no signal reaches it.
        let _ = child.kill();
        std::thread::spawn(move || child.wait());
        return said;
    }
    let ok = child.wait()?.success();
    said.map(|output| Output { ok, ..output })
}

/// Reads all that a program says.
fn listen(child: &mut Child, until: Instant) -> std::result::Result<Output, Cause> {
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while out.is_some() || err.is_some() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("no answer within {} s", LIMIT.as_secs()).into());
        }
        let (out_ready, err_ready) = {
            let mut fds = Vec::new();
            fds.extend(
                out.as_ref()
                    .map(|f| PollFd::from_borrowed_fd(f.as_fd(), PollFlags::IN)),
            );
            fds.extend(
                err.as_ref()
                    .map(|f| PollFd::from_borrowed_fd(f.as_fd(), PollFlags::IN)),
            );
            let timeout = Timespec::try_from(left)?;
            match poll(&mut fds, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
            let mut of = |there: bool| there && ready.next().unwrap_or(false);
            (of(out.is_some()), of(err.is_some()))
        };
        if out_ready {
            take(&mut out, &mut stdout)?;
        }
        if err_ready {
            take(&mut err, &mut stderr)?;
        }
        if stdout.len() + stderr.len() > MAX_OUTPUT {
            return Err("it says too much".into());
        }
    }
    Ok(Output {
        stdout,
        stderr,
        ok: false,
    })
}

/// Reads what there is; at the end the stream is gone.
fn take<R: Read>(from: &mut Option<R>, into: &mut Vec<u8>) -> std::io::Result<()> {
    let Some(stream) = from else {
        return Ok(());
    };
    let mut buffer = [0; 64 << 10];
    match stream.read(&mut buffer) {
        Ok(0) => *from = None,
        Ok(n) => into.extend_from_slice(&buffer[..n]),
        Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
        Err(e) => return Err(e),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_numbers() {
        let text = "tank/ct\t98304\t-\ntank/ct/a b\tnone\t12\n";
        assert_eq!(
            rows(text),
            [["tank/ct", "98304", "-"], ["tank/ct/a b", "none", "12"]]
        );
        assert_eq!(number("98304"), Some(98304));
        assert_eq!(
            (number("-"), number("none"), number("")),
            (None, None, None)
        );
        assert!(rows("").is_empty());
    }

    fn heard(script: &str, limit: Duration) -> std::result::Result<Output, Cause> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = listen(&mut child, Instant::now() + limit);
        child.kill().unwrap();
        child.wait().unwrap();
        said
    }

    #[test]
    fn both_streams_are_heard_to_their_ends() {
        let much = "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2; echo end";
        let output = heard(much, LIMIT).unwrap();
        assert_eq!(
            (output.stdout.len(), output.stderr.len()),
            (300_004, 300_000)
        );
        let silent = heard("exec >&- 2>&-", LIMIT).unwrap();
        assert!(silent.stdout.is_empty() && silent.stderr.is_empty());
    }

    #[test]
    fn one_that_does_not_answer_is_not_waited_for() {
        let e = heard(
            "echo begin; exec tail -f /dev/null",
            Duration::from_millis(50),
        );
        assert!(e.unwrap_err().to_string().starts_with("no answer within"));
    }
}
