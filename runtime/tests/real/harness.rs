//! A container for a test: rootfs of busybox in a temporary directory, cgroups, a supervisor, and
//! the end of all of them when it is dropped.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::poll::{PollFd, PollFlags, poll};
use osctl_linux::seqpacket;
use osctl_runtime::control::{
    Action, Command, Connection, Enter, Event, Exec, ExitRecord, Message, Reply, Request,
    SessionMessage, Status, WindowSize,
};
use osctl_runtime::spec::{self, Cgroups, ConsoleLog, Device, DeviceKind, IdMapping, Init, Spec};

/// First host id of every test container.
pub const BASE: u32 = 1_700_000;
/// An init that does nothing.
pub const SLEEP: &str = "exec /bin/sleep 1000000";
/// How long anything may take, in milliseconds.
const PATIENCE: i32 = 20_000;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Whether tests can run here.
pub fn able() -> bool {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: not root");
        return false;
    }
    if busybox().is_none() {
        println!("skipped: busybox-static missing");
        return false;
    }
    true
}

fn busybox() -> Option<PathBuf> {
    let candidates = ["/bin/busybox", "/usr/bin/busybox", "/bin/busybox-static"];
    let path = candidates.iter().map(PathBuf::from).find(|p| p.exists())?;
    // A dynamic one does not run in a rootfs without libraries: PT_INTERP is 3.
    let elf = fs::read(&path).ok()?;
    let word = |at: usize| u16::from_le_bytes([elf[at], elf[at + 1]]) as usize;
    let start = u32::from_le_bytes(elf.get(32..36)?.try_into().ok()?) as usize;
    let dynamic = (0..word(56)).any(|i| elf[start + i * word(54)] == 3);
    (!dynamic).then_some(path)
}

/// Files of a container that has not been started.
pub struct Place {
    pub dir: tempfile::TempDir,
    cgroups: Vec<PathBuf>,
    name: String,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("osctl-rt-").tempdir();
        let dir = dir.expect("a temporary directory");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("osctl-rt-{}-{number}", std::process::id());
        fs::create_dir(dir.path().join("run")).unwrap();
        let place = Place {
            dir,
            cgroups: Vec::new(),
            name,
        };
        place.fill();
        place
    }

    pub fn rootfs(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    fn fill(&self) {
        let root = self.rootfs();
        for name in ["bin", "etc", "tmp", "root", "home/user"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        let busybox = busybox().expect("busybox");
        fs::copy(busybox, root.join("bin/busybox")).unwrap();
        for applet in [
            "sh", "cat", "ls", "id", "sleep", "stty", "tty", "mount", "umount", "touch", "stat",
            "mkdir", "rm", "ln", "env", "pwd", "kill", "reboot", "poweroff", "halt", "grep", "dd",
            "head", "hostname", "readlink", "mknod", "yes", "true", "ps", "wc", "chmod", "sync",
            "mkfifo", "uptime", "ip", "setsid", "echo", "rmdir", "mv", "printf", "od",
        ] {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
    }

    /// A plain container whose init is a shell script.
    pub fn spec(&self, script: &str) -> Spec {
        let map = |host_id| {
            vec![IdMapping {
                ns_id: 0,
                host_id,
                count: 65536,
            }]
        };
        let device = |path: &str, minor| Device {
            path: path.into(),
            kind: DeviceKind::Char,
            major: 1,
            minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        };
        Spec {
            version: spec::VERSION,
            id: format!("test:{}", self.name),
            init: Init::Exec {
                argv: ["/bin/sh", "-c", script].map(String::from).to_vec(),
            },
            env: vec![("GREETING".into(), "hello".into())],
            hostname: "box".into(),
            domainname: None,
            rootfs: self.rootfs(),
            rootfs_readonly: false,
            run_dir: self.run_dir(),
            console: ConsoleLog::default(),
            cgroup: Cgroups::default(),
            uid_map: map(BASE),
            gid_map: map(BASE),
            mounts: Vec::new(),
            devices: vec![
                device("/dev/null", 3),
                device("/dev/zero", 5),
                device("/dev/full", 7),
                device("/dev/random", 8),
                device("/dev/urandom", 9),
            ],
            rlimits: Vec::new(),
            drop_capabilities: Vec::new(),
            seccomp: Vec::new(),
            apparmor: None,
            nesting: false,
            masked_paths: spec::default_masked(),
            readonly_paths: spec::default_readonly(),
            writable_paths: spec::default_writable(),
            files: Vec::new(),
            oom_score_adj: None,
            time_namespace: false,
            hold: false,
        }
    }

    /// Makes a v2 cgroup with a payload for the guest; None where there is no cgroup2.
    pub fn v2(&mut self, spec: &mut Spec) -> Option<PathBuf> {
        let ct = mount_point(|fields| fields.contains(&"cgroup2"))?.join(&self.name);
        let payload = ct.join("payload");
        fs::create_dir(&ct).ok()?;
        fs::create_dir(&payload).unwrap();
        for name in [
            "",
            "cgroup.procs",
            "cgroup.threads",
            "cgroup.subtree_control",
        ] {
            std::os::unix::fs::chown(payload.join(name), Some(BASE), Some(BASE)).unwrap();
        }
        self.cgroups.push(ct.clone());
        spec.cgroup.v2_payload = Some(payload);
        Some(ct)
    }

    /// Makes a cgroup in a v1 hierarchy; None where there is none.
    pub fn v1(&mut self, spec: &mut Spec, controller: &str) -> Option<PathBuf> {
        let is = |fields: &[&str]| {
            let options = fields
                .last()
                .is_some_and(|o| o.split(',').any(|o| o == controller));
            fields.contains(&"cgroup") && options
        };
        let dir = mount_point(is)?.join(&self.name);
        fs::create_dir(&dir).ok()?;
        self.cgroups.push(dir.clone());
        spec.cgroup.v1.push(dir.clone());
        Some(dir)
    }

    /// Starts a plain container.
    pub fn run(self, script: &str) -> Ct {
        let spec = self.spec(script);
        self.start(&spec)
    }

    /// Starts a plain container that may fail.
    pub fn try_run(self, script: &str) -> Result<Ct, (Place, String, String)> {
        let spec = self.spec(script);
        self.try_start(&spec)
    }

    /// Starts the container and waits until init runs.
    pub fn start(self, spec: &Spec) -> Ct {
        match self.try_start(spec) {
            Ok(ct) => ct,
            Err((_, step, error)) => panic!("start failed in {step}: {error}"),
        }
    }

    /// Starts the container; (step, error) when that fails.
    pub fn try_start(self, spec: &Spec) -> Result<Ct, (Place, String, String)> {
        let mut ct = self.spawn(spec);
        match ct.event() {
            Event::Created { .. } => {}
            Event::Failed { step, error } => return Err((ct.into_place(), step, error)),
            other => panic!("unexpected {other:?}"),
        }
        match ct.event() {
            Event::Started { pid, warnings, .. } => {
                (ct.pid, ct.warnings) = (pid, warnings);
                Ok(ct)
            }
            Event::Failed { step, error } => Err((ct.into_place(), step, error)),
            other => panic!("unexpected {other:?}"),
        }
    }

    /// Starts a supervisor and no more.
    pub fn spawn(self, spec: &Spec) -> Ct {
        let (conn, theirs) = Connection::pair().unwrap();
        let child = Process::new(env!("CARGO_BIN_EXE_osctl-runtime"))
            .arg("supervise")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .expect("the runtime starts");
        conn.send_spec(spec).unwrap();
        Ct {
            conn,
            child,
            place: Some(self),
            pid: 0,
            warnings: Vec::new(),
            seq: 0,
            events: VecDeque::new(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for dir in &self.cgroups {
            remove_cgroup(dir);
        }
    }
}

/// Ends what is left in a cgroup and removes it, deepest first.
fn remove_cgroup(dir: &Path) {
    let _ = fs::write(dir.join("cgroup.kill"), "1");
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    for _ in 0..1000 {
        match fs::remove_dir(dir) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                let _ = poll(&mut [], 5u16);
            }
            _ => return,
        }
    }
}

fn mount_point(wanted: impl Fn(&[&str]) -> bool) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let after: Vec<&str> = after.split(' ').collect();
        wanted(&after).then(|| before.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// A running container. Dropping it ends it.
pub struct Ct {
    pub conn: Connection,
    pub child: Child,
    place: Option<Place>,
    pub pid: i32,
    pub warnings: Vec<String>,
    seq: u64,
    events: VecDeque<Event>,
}

/// What an entry came to.
#[derive(Debug)]
pub struct Output {
    pub end: SessionMessage,
    pub out: String,
    pub err: String,
    pub warnings: Vec<String>,
}

impl Output {
    /// The exit status, of a program that had one.
    pub fn status(&self) -> i32 {
        match self.end {
            SessionMessage::Exited(status) => status,
            _ => panic!("did not exit: {self:?}"),
        }
    }
}

impl Ct {
    pub fn place(&self) -> &Place {
        self.place.as_ref().unwrap()
    }

    fn into_place(mut self) -> Place {
        self.end();
        self.place.take().unwrap()
    }

    /// Reads a file of init's proc directory on the host.
    pub fn proc(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.pid)).unwrap()
    }

    fn message(&self) -> (Message, Vec<OwnedFd>) {
        wait_readable(self.conn.as_fd());
        self.conn.recv().expect("a message")
    }

    /// The next event.
    pub fn event(&mut self) -> Event {
        if let Some(event) = self.events.pop_front() {
            return event;
        }
        loop {
            if let (Message::Event(event), _) = self.message() {
                return event;
            }
        }
    }

    /// How the container ended.
    pub fn exited(&mut self) -> ExitRecord {
        match self.event() {
            Event::Exited(record) => record,
            other => panic!("unexpected {other:?}"),
        }
    }

    /// Lets go of the control connection.
    pub fn disconnect(&mut self) {
        self.conn = Connection::pair().unwrap().0;
    }

    /// Sends a request and waits for the reply.
    pub fn ask(&mut self, request: Request, fds: &[BorrowedFd<'_>]) -> Reply {
        self.ask_all(request, fds).0
    }

    /// The reply with the descriptors that came along.
    pub fn ask_fds(&mut self, request: Request) -> (Reply, Vec<OwnedFd>) {
        self.ask_all(request, &[])
    }

    fn ask_all(&mut self, request: Request, fds: &[BorrowedFd<'_>]) -> (Reply, Vec<OwnedFd>) {
        self.seq += 1;
        let command = Command {
            seq: self.seq,
            request,
        };
        self.conn.send(&command, fds).unwrap();
        loop {
            match self.message() {
                (Message::Reply { seq, reply }, fds) => {
                    assert_eq!(seq, self.seq);
                    return (reply, fds);
                }
                (Message::Event(event), _) => self.events.push_back(event),
                _ => {}
            }
        }
    }

    pub fn status(&mut self) -> Status {
        match self.ask(Request::Status, &[]) {
            Reply::Status(status) => status,
            other => panic!("unexpected {other:?}"),
        }
    }

    /// Asks until the status is as wanted, but not forever.
    pub fn until(&mut self, wanted: impl Fn(&Status) -> bool) {
        let begin = std::time::Instant::now();
        while !wanted(&self.status()) {
            assert!(
                begin.elapsed().as_millis() < PATIENCE as u128,
                "it never came"
            );
        }
    }

    /// Starts an entry; its session.
    pub fn enter(&mut self, action: Action, fds: &[BorrowedFd<'_>]) -> Result<Connection, String> {
        let (ours, theirs) = seqpacket::pair().unwrap();
        let mut all = vec![theirs.as_fd()];
        all.extend_from_slice(fds);
        match self.ask(Request::Enter(Enter { action }), &all) {
            Reply::Done => Ok(Connection::new(ours)),
            Reply::Error(error) => Err(error),
            other => panic!("unexpected {other:?}"),
        }
    }

    /// Does something inside that has no streams, and waits for its end.
    pub fn act(&mut self, action: Action) -> Output {
        let session = self.enter(action, &[]).unwrap();
        finish(&session, None)
    }

    /// Runs a program with pipes and waits for its end.
    pub fn exec(&mut self, exec: Exec) -> Output {
        let null = fs::File::open("/dev/null").unwrap();
        let (out, out_w) = pipe();
        let (err, err_w) = pipe();
        let fds = [null.as_fd(), out_w.as_fd(), err_w.as_fd()];
        let session = self.enter(Action::Exec(exec), &fds).unwrap();
        drop((out_w, err_w));
        finish(&session, Some((out, err)))
    }

    /// Runs a shell command as root.
    pub fn sh(&mut self, script: &str) -> Output {
        self.exec(program(&["/bin/sh", "-c", script]))
    }

    /// Output of a shell command that must succeed.
    pub fn say(&mut self, script: &str) -> String {
        let output = self.sh(script);
        assert_eq!(output.status(), 0, "{script}: {output:?}");
        output.out.trim_end().to_owned()
    }

    /// Attaches a console client.
    pub fn console(&mut self) -> OwnedFd {
        let (ours, theirs) = seqpacket::pair().unwrap();
        let reply = self.ask(Request::Console, &[theirs.as_fd()]);
        assert_eq!(reply, Reply::Done);
        ours
    }

    /// Ends the supervisor, and with it the container.
    pub fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Ct {
    fn drop(&mut self) {
        self.end();
    }
}

/// A program as root with the usual environment.
pub fn program<S: AsRef<str>>(argv: &[S]) -> Exec {
    Exec {
        argv: argv.iter().map(|a| a.as_ref().to_owned()).collect(),
        script: false,
        env: vec![("PATH".into(), "/bin".into())],
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        cwd: "/".into(),
        cwd_required: false,
        tty: None,
    }
}

/// A program on a terminal.
pub fn on_tty<S: AsRef<str>>(argv: &[S]) -> Exec {
    Exec {
        tty: Some(WindowSize { rows: 33, cols: 77 }),
        ..program(argv)
    }
}

/// Waits for the end of a session, reading the output meanwhile.
pub fn finish(session: &Connection, streams: Option<(OwnedFd, OwnedFd)>) -> Output {
    let mut warnings = Vec::new();
    let mut readers = streams.map(|(out, err)| {
        let read = |fd: OwnedFd| {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                fs::File::from(fd).read_to_end(&mut text).unwrap();
                String::from_utf8_lossy(&text).into_owned()
            })
        };
        (read(out), read(err))
    });
    let end = loop {
        wait_readable(session.as_fd());
        match session.recv_session().expect("a session message").0 {
            SessionMessage::Pid(pid) => assert!(pid > 1),
            SessionMessage::Warning(text) => warnings.push(text),
            end => break end,
        }
    };
    let (out, err) = match readers.take() {
        Some((out, err)) => (out.join().unwrap(), err.join().unwrap()),
        None => Default::default(),
    };
    Output {
        end,
        out,
        err,
        warnings,
    }
}

/// Waits, but not forever.
pub fn wait_readable(fd: BorrowedFd<'_>) {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    let ready = poll(
        &mut fds,
        nix::poll::PollTimeout::try_from(PATIENCE).unwrap(),
    );
    assert_ne!(ready.unwrap(), 0, "nothing came");
}

/// Reads console packets until the text has come; what came.
pub fn read_until(console: &OwnedFd, wanted: &str) -> String {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(wanted) {
        wait_readable(console.as_fd());
        let packet = seqpacket::recv(console.as_fd(), 1 << 20, false).unwrap();
        let Some(packet) = packet else {
            panic!(
                "ended before {wanted:?}: {:?}",
                String::from_utf8_lossy(&seen)
            );
        };
        seen.extend(packet.data);
    }
    String::from_utf8_lossy(&seen).into_owned()
}

/// A descriptor that becomes readable when the process ends.
pub fn pidfd(pid: i32) -> OwnedFd {
    osctl_linux::process::pidfd_open(pid).unwrap()
}

/// Names in a directory, sorted.
pub fn names(dir: impl AsRef<Path>) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    let text = |name: &OsStr| name.to_string_lossy().into_owned();
    let mut names: Vec<String> = entries.map(|e| text(&e.file_name())).collect();
    names.sort();
    names
}

/// A pipe whose ends no program gets that is started meanwhile.
pub fn pipe() -> (OwnedFd, OwnedFd) {
    let (read, write) = std::io::pipe().unwrap();
    (read.into(), write.into())
}
