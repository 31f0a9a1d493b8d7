//! The agent of the tests inside of a virtual machine: carries out, as root,
//! what comes through a virtio port, one request after the other.
//! Started by a service that starts it again when it ends.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use osctl_tests::vm::frame::{self, Kind};
use rustix::fs::{MemfdFlags, memfd_create};

/// Name of the port.
const PORT: &str = "osctl.agent";

fn main() {
    let result = port().and_then(|path| {
        let mut port = OpenOptions::new().read(true).write(true).open(path)?;
        loop {
            let (kind, content) = frame::read(&mut port)?;
            if let Err(error) = serve(&mut port, kind, &content) {
                frame::write(&mut port, Kind::Failed, error.to_string().as_bytes())?;
            }
        }
    });
    let Err::<(), _>(error) = result else { return };
    eprintln!("osctl-vm-agent: {error}");
    std::process::exit(1);
}

/// The device of the port; there is no udev that would name it.
fn port() -> io::Result<PathBuf> {
    for entry in fs::read_dir("/sys/class/virtio-ports")? {
        let entry = entry?;
        let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if name.trim() == PORT {
            return Ok(Path::new("/dev").join(entry.file_name()));
        }
    }
    Err(io::Error::other(format!("there is no port {PORT}")))
}

fn serve(port: &mut File, kind: Kind, content: &[u8]) -> io::Result<()> {
    match kind {
        Kind::Hello => frame::write(port, Kind::Done, b""),
        Kind::Run => run(port, content),
        Kind::Push => {
            push(content)?;
            frame::write(port, Kind::Done, b"")
        }
        Kind::Pull => {
            let file = fs::read(text(content)?)?;
            frame::write(port, Kind::File, &file)
        }
        _ => Err(io::Error::other(format!("{kind:?} is no request"))),
    }
}

/// Its output goes to files: what it leaves running may keep them open, and
/// nobody waits for it.
fn run(port: &mut File, request: &[u8]) -> io::Result<()> {
    let (stdin, argv) = sized(request)?;
    let mut arguments = text(argv)?.split_terminator('\0');
    let program = arguments.next().ok_or_else(|| cut("no program"))?;
    let mut input = memory("stdin")?;
    input.write_all(stdin)?;
    input.rewind()?;
    let mut stdout = memory("stdout")?;
    let mut stderr = memory("stderr")?;
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::from(input))
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .status()
        .map_err(|error| io::Error::other(format!("{program}: {error}")))?;
    frame::write(port, Kind::Stdout, &whole(&mut stdout)?)?;
    frame::write(port, Kind::Stderr, &whole(&mut stderr)?)?;
    let code = status.code().or(status.signal().map(|signal| -signal));
    frame::write(port, Kind::Exit, &code.unwrap_or(-1).to_le_bytes())
}

fn push(request: &[u8]) -> io::Result<()> {
    let (mode, rest) = number(request)?;
    let end = rest.iter().position(|byte| *byte == 0);
    let (path, content) = rest.split_at(end.ok_or_else(|| cut("no path"))?);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(text(path)?)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(&content[1..])
}

fn memory(name: &str) -> io::Result<File> {
    Ok(memfd_create(name, MemfdFlags::CLOEXEC)?.into())
}

fn whole(file: &mut File) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut content)?;
    Ok(content)
}

fn text(bytes: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(bytes).map_err(io::Error::other)
}

fn number(bytes: &[u8]) -> io::Result<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk().ok_or_else(|| cut("no number"))?;
    Ok((u32::from_le_bytes(*number), rest))
}

fn sized(bytes: &[u8]) -> io::Result<(&[u8], &[u8])> {
    let (length, rest) = number(bytes)?;
    let length = usize::try_from(length).map_err(io::Error::other)?;
    rest.split_at_checked(length)
        .ok_or_else(|| cut("too short"))
}

fn cut(what: &str) -> io::Error {
    io::Error::other(format!("the request has {what}"))
}
