//! A daemon of a few lines that answers as a test says, over the real wire format.

#![allow(dead_code)] // every test file uses a part of it
#![allow(clippy::unwrap_used)] // a test that can not be set up fails

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use osctl_api::Error;
use osctl_api::wire::{self, Call, Decoder};
use serde::Serialize;
use serde_json::{Value, json};

/// A call that arrived.
pub struct Request {
    pub method: String,
    pub params: Value,
    pub more: bool,
    pub cli: Option<String>,
    pub fds: Vec<OwnedFd>,
}

/// A call as it is remembered.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub params: Value,
    pub more: bool,
    pub cli: Option<String>,
}

/// The connection that a call arrived on.
pub struct Conn {
    socket: UnixStream,
}

impl Conn {
    pub fn raw(&self, bytes: &[u8]) {
        self.send(bytes, &[]);
    }

    pub fn reply<T: Serialize>(&self, reply: &T) {
        self.send(&wire::encode_reply(reply, false).unwrap(), &[]);
    }

    pub fn more<T: Serialize>(&self, reply: &T) {
        self.send(&wire::encode_reply(reply, true).unwrap(), &[]);
    }

    pub fn reply_fds<T: Serialize>(&self, reply: &T, fds: &[OwnedFd]) {
        self.send(&wire::encode_reply(reply, false).unwrap(), fds);
    }

    pub fn error(&self, error: &Error) {
        self.send(&wire::encode_error(error), &[]);
    }

    pub fn close(&self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }

    fn send(&self, bytes: &[u8], fds: &[OwnedFd]) {
        let mut at = 0;
        while at < bytes.len() {
            let fds = if at == 0 { fds } else { &[] };
            match wire::send(self.socket.as_fd(), &bytes[at..], fds) {
                Ok(n) => at += n,
                Err(_) => return,
            }
        }
    }
}

/// A daemon that answers as its handler says.
pub struct Fake {
    dir: tempfile::TempDir,
    socket: PathBuf,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    pub fn start(handler: impl Fn(&Conn, Request) + Send + Sync + 'static) -> Fake {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("osctld.sock");
        let seen = Arc::new(Mutex::new(Vec::new()));
        listen(&socket, seen.clone(), handler);
        Fake { dir, socket, seen }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn osctl(&self, arguments: &[&str]) -> Command {
        osctl(&self.socket, arguments)
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        run(self.osctl(arguments), b"")
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn only_call(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen[0].clone()
    }
}

pub fn listen(
    socket: &Path,
    seen: Arc<Mutex<Vec<Seen>>>,
    handler: impl Fn(&Conn, Request) + Send + Sync + 'static,
) {
    let listener = UnixListener::bind(socket).unwrap();
    let handler = Arc::new(handler);
    std::thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            let (handler, seen) = (handler.clone(), seen.clone());
            std::thread::spawn(move || serve(socket, &seen, &*handler));
        }
    });
}

fn serve(socket: UnixStream, seen: &Mutex<Vec<Seen>>, handler: &dyn Fn(&Conn, Request)) {
    let mut decoder = Decoder::new(wire::MAX_CALL);
    let conn = Conn { socket };
    loop {
        while let Some(frame) = decoder.next_frame().unwrap() {
            let call: Call<'_> = serde_json::from_slice(&frame.bytes).unwrap();
            let request = Request {
                method: call.method.strip_prefix("org.osctl.").unwrap().to_owned(),
                params: call
                    .parameters
                    .map_or(json!({}), |p| serde_json::from_str(p.get()).unwrap()),
                more: call.more,
                cli: call.cli.map(Into::into),
                fds: frame.fds,
            };
            seen.lock().unwrap().push(Seen {
                method: request.method.clone(),
                params: request.params.clone(),
                more: request.more,
                cli: request.cli.clone(),
            });
            handler(&conn, request);
        }
        match decoder.receive(conn.socket.as_fd()) {
            Ok(n) if n > 0 => {}
            _ => return,
        }
    }
}

/// What a run of osctl came to.
#[derive(Debug)]
pub struct Ran {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(o: Output) -> Ran {
        Ran {
            status: o.status.code(),
            out: String::from_utf8(o.stdout).unwrap(),
            err: String::from_utf8(o.stderr).unwrap(),
        }
    }
}

pub fn osctl(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_osctl"));
    command.args(arguments).env_clear();
    command
        .env("OSCTL_SOCKET", socket)
        .env("TZ", "UTC")
        .env("NO_COLOR", "1");
    command
}

pub fn run(mut command: Command, input: &[u8]) -> Ran {
    use std::io::Write;
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // a program that does not read its input is none of a test's business
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap().into()
}

/// A container as the daemon describes it.
pub fn container(id: &str) -> Value {
    json!({
        "pool": "tank", "id": id, "user": id, "group": "/default",
        "dataset": format!("/tank/ct/{id}"), "rootfs": format!("/tank/ct/{id}/private"),
        "group_path": "osctl/x", "distribution": "debian", "version": "13", "arch": "x86_64",
        "state": "running", "init_pid": 4242, "autostart": false, "ephemeral": false,
        "nesting": false, "seccomp_profile": "default", "init_cmd": ["/sbin/init"],
        "memory": 1536 * 1024, "cpu_us": 93_600_000_000u64,
        "attrs": {"my:attr": "value"},
    })
}

/// Both ends of a session.
pub fn session() -> (OwnedFd, OwnedFd) {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap()
}

pub fn send_packet(session: &OwnedFd, bytes: &[u8], fds: &[OwnedFd]) {
    wire::send(session.as_fd(), bytes, fds).unwrap();
}

/// The next packet; empty at the end.
pub fn packet(session: &OwnedFd) -> Vec<u8> {
    let mut buffer = vec![0u8; 64 * 1024];
    let (_, n) =
        rustix::net::recv(session, &mut buffer[..], rustix::net::RecvFlags::empty()).unwrap();
    buffer.truncate(n);
    buffer
}

/// A terminal: the side of the person before it, and the side of programs.
pub struct Terminal {
    pub master: OwnedFd,
    pub slave: OwnedFd,
}

impl Terminal {
    pub fn open() -> Terminal {
        let size = nix::pty::Winsize {
            ws_row: 40,
            ws_col: 123,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = nix::pty::openpty(Some(&size), None).unwrap();
        Terminal {
            master: pty.master,
            slave: pty.slave,
        }
    }

    pub fn spawn(&self, mut command: Command) -> Child {
        let slave = || Stdio::from(self.slave.try_clone().unwrap());
        command.stdin(slave()).stdout(slave()).stderr(slave());
        command.spawn().unwrap()
    }

    pub fn is_raw(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&self.slave).unwrap();
        !modes
            .local_modes
            .contains(rustix::termios::LocalModes::ICANON)
    }

    pub fn type_keys(&self, keys: &[u8]) {
        assert_eq!(rustix::io::write(&self.master, keys).unwrap(), keys.len());
    }

    /// Reads what the screen shows until it has `text`.
    pub fn expect(&self, text: &str) -> String {
        let mut screen = Vec::new();
        while !String::from_utf8_lossy(&screen).contains(text) {
            let mut fds = [rustix::event::PollFd::new(
                &self.master,
                rustix::event::PollFlags::IN,
            )];
            let limit = rustix::event::Timespec {
                tv_sec: 20,
                tv_nsec: 0,
            };
            let n = rustix::event::poll(&mut fds, Some(&limit)).unwrap();
            let shown = String::from_utf8_lossy(&screen).into_owned();
            assert!(n > 0, "{text:?} did not come, but {shown:?}");
            let mut buffer = [0u8; 4096];
            match rustix::io::read(&self.master, &mut buffer) {
                Ok(n) if n > 0 => screen.extend_from_slice(&buffer[..n]),
                other => panic!("{text:?} did not come ({other:?}), but {shown:?}"),
            }
        }
        String::from_utf8_lossy(&screen).into_owned()
    }
}

/// Reads a file descriptor to its end.
pub fn read_all(fd: OwnedFd) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::fs::File::from(fd).read_to_end(&mut bytes).unwrap();
    bytes
}

pub fn signal(child: &Child, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, signal).unwrap();
}
