//! Entering a running container: a scout joins its namespaces and makes the resident, which is a
//! child of the supervisor and does what was asked.
//!
//! Two processes, because only children of who joined a pid namespace are in it.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::statfs::fstatfs;
use osctl_linux::beneath::{Mounts, Root, Symlinks};
use osctl_linux::error::Context;
use osctl_linux::fds;
use osctl_linux::process::{self, Cloned, Parent, clone3};
use osctl_linux::{mount, tty};
use osctl_runtime::control::{Action, Enter, Exec, MAX_SCRIPT, WindowSize};
use osctl_runtime::spec::Spec;

use crate::fault::{During, Fault, Outcome};
use crate::files;
use crate::policy::{self, Labelled};
use crate::program::{self, Program};
use crate::report::{Channel, Order, Report};
use crate::stage;
use crate::supervisor::Inside;

const DEVPTS_MAGIC: i64 = 0x1cd1;

/// All namespaces but that of time, which children of the supervisor are born into.
const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWUSER
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWCGROUP);

/// What went wrong, with the exit code for the client.
type Failure = (i32, Fault);

fn internal(fault: impl Into<Fault>) -> Failure {
    (125, fault.into())
}

/// The scout, just made: never returns. Of the supervisor's descriptors only those given stay open.
pub fn run(request: &Enter, fds: &[OwnedFd], channel: Channel, inside: Inside<'_>) -> ! {
    let result = scout(request, fds, &channel, inside);
    if let Err((code, fault)) = result {
        let report = Report::Rejected {
            code,
            error: fault.text(),
        };
        // Nobody to tell when the supervisor is gone.
        let _ = channel.send(&report, &[]);
        process::exit(1);
    }
    process::exit(0)
}

fn scout(
    request: &Enter,
    fds: &[OwnedFd],
    channel: &Channel,
    inside: Inside<'_>,
) -> Result<(), Failure> {
    let mut keep: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    keep.extend([channel.as_fd(), inside.pidfd, inside.proc.as_fd()]);
    fds::close_all_but(&keep).map_err(internal)?;
    if let Some(value) = inside.oom_score_adj {
        // Raising is always allowed.
        let write = inside.proc.write("self/oom_score_adj", &value.to_string());
        write.map_err(internal)?;
    }
    // What the host does not allow was said when the container was started.
    policy::set_rlimits(0, &inside.spec.rlimits, &mut |_| {}).map_err(internal)?;
    process::setns(inside.pidfd, NAMESPACES).map_err(internal)?;
    let clone = clone3(
        inside.witness,
        CloneFlags::empty(),
        Parent::Grandparent,
        None,
    );
    let cloned = match clone {
        Err(error) if error.errno() == Errno::EAGAIN => {
            return channel.send(&Report::Crowded, &[]).map_err(internal);
        }
        other => other.map_err(internal)?,
    };
    match cloned {
        Cloned::Child => resident(request, fds, channel, inside),
        Cloned::Parent(child) => {
            let report = Report::Spawned { pid: child.pid };
            let sent = channel.send(&report, &[child.pidfd.as_fd()]);
            sent.map_err(internal)
        }
    }
}

fn resident(
    request: &Enter,
    fds: &[OwnedFd],
    channel: &Channel,
    inside: Inside<'_>,
) -> Result<(), Failure> {
    nix::unistd::setsid().call(|| "setsid").map_err(internal)?;
    program::become_user(0, 0, &[]).map_err(internal)?;
    if let Action::Exec(exec) = &request.action {
        return Err(Execution {
            exec,
            fds,
            channel,
            inside,
        }
        .run());
    }
    // A client that has lost patience, with a file system of the guest that hangs for one, may end it.
    process::reset_signals().map_err(internal)?;
    await_go(channel)?;
    let root = Root::open_tree("/", Symlinks::InRoot, Mounts::Cross).map_err(internal)?;
    match &request.action {
        Action::Exec(_) => Ok(()),
        Action::WriteFiles { files } => {
            for change in files {
                if let Err(fault) = files::apply(&root, change) {
                    let text = format!("cannot write {:?}: {}", change.path, fault.text());
                    channel
                        .send(&Report::Warning(text), &[])
                        .map_err(internal)?;
                }
            }
            Ok(())
        }
        Action::ReadFile { path, max_bytes } => {
            let to = fds.first().map(|fd| fd.try_clone().call(|| "dup"));
            let to = to.ok_or_else(|| internal(Fault::refused("no descriptor to write to")))?;
            files::copy_out(&root, path, *max_bytes, to.map_err(internal)?)
        }
        Action::Mount(wanted) => {
            let bind = fds.first().map(|fd| fd.try_clone().call(|| "dup"));
            let bind = bind.transpose().map_err(internal)?;
            stage::mount_at(&root, wanted, bind)
                .during(|| format!("cannot mount {:?}", wanted.target))
                .map_err(|fault| match fault.errno() {
                    Some(Errno::EBUSY) => (126, fault),
                    _ => internal(fault),
                })
        }
        Action::Unmount { target } => (|| -> Outcome {
            let root = root.with(Symlinks::Refuse, Mounts::Cross)?;
            let node = root.node(stage::relative(target))?;
            Ok(mount::detach(inside.proc.as_fd(), node.as_fd())?)
        })()
        .during(|| format!("cannot unmount {target:?}"))
        .map_err(|fault| match fault.errno() {
            // Nothing is mounted there, or there is nothing.
            Some(Errno::EINVAL | Errno::ENOENT | Errno::ENOTDIR) => (127, fault),
            _ => internal(fault),
        }),
    }
}

/// The supervisor has to know this process before it may end.
fn await_go(channel: &Channel) -> Result<(), Failure> {
    match channel.recv::<Order>().map_err(internal)? {
        Some((Order::Go, _)) => Ok(()),
        Some((other, _)) => Err(internal(Fault::refused(format!("{other:?} instead of Go")))),
        None => process::exit(1),
    }
}

struct Execution<'a> {
    exec: &'a Exec,
    fds: &'a [OwnedFd],
    channel: &'a Channel,
    inside: Inside<'a>,
}

impl Execution<'_> {
    fn run(&self) -> Failure {
        match self.try_run() {
            Err(failure) => failure,
            Ok(never) => match never {},
        }
    }

    fn try_run(&self) -> Result<std::convert::Infallible, Failure> {
        let exec = self.exec;
        let spec: &Spec = self.inside.spec;
        let mut env = vec![("container", "lxc")];
        env.extend(exec.env.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        let program = Program::new(&exec.argv, &env).map_err(internal)?;
        let terminal = match exec.tty {
            Some(size) => Some(self.terminal(size).map_err(internal)?),
            None => None,
        };
        let script = match (exec.script, self.fds.last()) {
            (true, Some(fd)) => Some(copy_script(fd).map_err(internal)?),
            _ => None,
        };
        self.restrict(spec).map_err(internal)?;
        await_go(self.channel)?;

        let mut streams: Vec<BorrowedFd<'_>> = match &terminal {
            Some(tty) => vec![tty.as_fd(); 3],
            None => self.fds.iter().take(3).map(AsFd::as_fd).collect(),
        };
        streams.extend(script.iter().map(AsFd::as_fd));
        // Nothing of the host may be open, not even close-on-exec, when the guest's paths are walked.
        let mut keep = streams.clone();
        keep.push(self.channel.as_fd());
        fds::close_all_but(&keep).map_err(internal)?;
        program::settle(&streams).map_err(internal)?;
        program::become_user(exec.uid, exec.gid, &exec.groups).map_err(internal)?;
        self.directory()?;
        let (code, fault) = match &script {
            // It is descriptor 3 by now, right behind the standard streams.
            Some(_) => match fds::borrowed_fd(3) {
                Ok(fd) => program.run_fd(fd.as_fd()),
                Err(error) => internal(error),
            },
            None => program.run(),
        };
        // Their numbers are standard streams by now: not to be closed, this process ends anyway.
        std::mem::forget((terminal, script));
        Err((code, fault))
    }

    fn terminal(&self, size: WindowSize) -> Outcome<OwnedFd> {
        let root = Root::open_tree("/", Symlinks::Refuse, Mounts::Cross)?;
        let devpts = root.dir("dev/pts")?;
        let magic = fstatfs(&devpts).call(|| "fstatfs(/dev/pts)")?;
        if magic.filesystem_type().0 != DEVPTS_MAGIC {
            return Err(Fault::refused("the guest's /dev/pts is not a devpts"));
        }
        let pty = tty::open_pty(devpts.as_fd())?;
        tty::set_size(&pty.master, size.rows, size.cols)?;
        let owner = nix::unistd::Uid::from_raw(self.exec.uid);
        nix::unistd::fchown(&pty.slave, Some(owner), None).call(|| "fchown(pty)")?;
        tty::make_controlling(&pty.slave)?;
        self.channel
            .send(&Report::Terminal, &[pty.master.as_fd()])?;
        Ok(pty.slave)
    }

    fn restrict(&self, spec: &Spec) -> Outcome {
        policy::restrict_capabilities(&spec.drop_capabilities)?;
        if let Some(profile) = &spec.apparmor {
            let file = policy::open_label(self.inside.proc, Labelled::AtExec)?;
            policy::set_label(file, Labelled::AtExec, profile)?;
        }
        policy::seccomp(&spec.seccomp)
    }

    fn directory(&self) -> Result<(), Failure> {
        match program::enter_directory(&self.exec.cwd) {
            Ok(()) => Ok(()),
            Err(fault) if self.exec.cwd_required => {
                let what = || format!("cannot enter {:?}", self.exec.cwd);
                Err(fault).during(what).map_err(|fault| (126, fault))
            }
            Err(_) => nix::unistd::chdir("/")
                .call(|| "chdir(\"/\")")
                .map_err(internal),
        }
    }
}

/// The guest runs a copy: with the client's own file it could reach what it has no business with.
fn copy_script(from: &OwnedFd) -> Outcome<OwnedFd> {
    let from = File::from(from.try_clone().call(|| "dup")?);
    let memfd = fds::executable_memfd(c"script")?;
    let mut to = File::from(memfd.try_clone().call(|| "dup")?);
    let copied = std::io::copy(&mut from.take(MAX_SCRIPT + 1), &mut to);
    if copied.call(|| "write(memfd)")? > MAX_SCRIPT {
        let text = format!("the script is larger than {MAX_SCRIPT} bytes");
        return Err(Fault::refused(text));
    }
    Ok(memfd)
}
