//! The init stage: what happens in the container's first process before it becomes the guest's init.
//!
//! A list of named steps. The first that fails ends the stage, and its name and reason are what the
//! daemon is told. Mounts are in [`mounts`] and [`masks`], the console in [`console`].

mod console;
mod masks;
mod mounts;
pub use mounts::{attributes, mount_at, relative};
mod pause;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, unshare};
use osctl_linux::beneath::{Mounts, Root, Symlinks};
use osctl_linux::error::Context;
use osctl_linux::fds;
use osctl_linux::process;
use osctl_runtime::spec::{Init, Spec};

use crate::fault::{During, Fault, Outcome};
use crate::files;
use crate::hostproc::HostProc;
use crate::policy::{self, Labelled};
use crate::program::{self, DEFAULT_PATH, Program};
use crate::report::{Channel, Order, Report};

/// What the steps share.
struct Stage<'a> {
    spec: &'a Spec,
    channel: Channel,
    /// Where the LSM label is to be written, when there is one.
    label: Option<File>,
    proc_tree: Option<OwnedFd>,
    dev_tree: Option<OwnedFd>,
    sys_tree: Option<OwnedFd>,
    root: Option<Root>,
    devpts: Option<OwnedFd>,
    console: Option<OwnedFd>,
}

type Step = fn(&mut Stage<'_>) -> Outcome;

const STEPS: &[(&str, Step)] = &[
    ("label", |s| s.open_label()),
    ("identity", |s| s.identity()),
    ("namespaces", |s| s.namespaces()),
    ("proc", |s| s.make_proc()),
    ("sysfs", |s| s.make_sysfs()),
    ("rootfs", |s| s.attach_rootfs()),
    ("mount proc", |s| s.attach_proc()),
    ("mount sysfs", |s| s.attach_sysfs()),
    ("dev", |s| s.attach_dev()),
    ("mask", |s| s.mask()),
    ("devpts", |s| s.mount_devpts()),
    ("nesting", |s| s.mount_unmasked()),
    ("mounts", |s| s.extra_mounts()),
    ("console", |s| s.make_console()),
    ("cgroup", |s| s.mount_cgroup()),
    ("pivot root", |s| s.pivot()),
    ("hostname", |s| s.set_names()),
    ("loopback", |s| s.loopback()),
    ("files", |s| s.write_files()),
    ("go", |s| s.await_go()),
    ("capabilities", |s| s.capabilities()),
    ("LSM label", |s| s.set_label()),
    ("standard streams", |s| s.streams()),
    ("seccomp", |s| s.seccomp()),
    ("init", |s| s.run_init()),
];

/// Lives through the stage; never returns. `channel` and the standard streams are all that stays
/// open of what the supervisor had.
pub fn enter(spec: &Spec, channel: Channel) -> ! {
    let mut stage = Stage {
        spec,
        channel,
        label: None,
        proc_tree: None,
        dev_tree: None,
        sys_tree: None,
        root: None,
        devpts: None,
        console: None,
    };
    let (step, fault) = stage.run();
    let report = Report::Failed {
        step: step.to_owned(),
        error: fault.text(),
    };
    // Nobody to tell when the supervisor is gone.
    let _ = stage.channel.send(&report, &[]);
    process::exit(1)
}

impl Stage<'_> {
    fn run(&mut self) -> (&'static str, Fault) {
        let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let streams = [input.as_fd(), output.as_fd(), error.as_fd()];
        let keep = [self.channel.as_fd(), streams[0], streams[1], streams[2]];
        if let Err(error) = fds::close_all_but(&keep) {
            return ("descriptors", error.into());
        }
        for (name, step) in STEPS {
            if let Err(fault) = step(self) {
                return (name, fault);
            }
        }
        ("init", Fault::refused("init returned"))
    }

    fn warn(&self, text: String) -> Outcome {
        Ok(self.channel.send(&Report::Warning(text), &[])?)
    }

    /// Waits for an order; a supervisor that is gone ends the stage.
    fn order(&self) -> Outcome<(Order, Vec<OwnedFd>)> {
        match self.channel.recv()? {
            Some(message) => Ok(message),
            None => process::exit(1),
        }
    }

    fn expect(&self, wanted: Order) -> Outcome<Vec<OwnedFd>> {
        let (order, fds) = self.order()?;
        if order == wanted {
            Ok(fds)
        } else {
            Err(Fault::refused(format!("{order:?} instead of {wanted:?}")))
        }
    }

    fn root(&self) -> Outcome<&Root> {
        let missing = || Fault::refused("the root file system is not attached yet");
        self.root.as_ref().ok_or_else(missing)
    }

    /// While `/proc` still is the host's and this process may write there.
    fn open_label(&mut self) -> Outcome {
        if self.spec.apparmor.is_some() {
            self.label = Some(policy::open_label(&HostProc::open()?, Labelled::Now)?);
        }
        Ok(())
    }

    fn identity(&mut self) -> Outcome {
        self.expect(Order::Mapped)?;
        // No session of its own, as the kernel's first process has none: sysvinit opens the console
        // before it calls setsid, and as a leader would take it from every login after it.
        program::become_user(0, 0, &[])
    }

    /// Only now that ids are mapped: sysfs, mqueue and others give their files to who makes them.
    fn namespaces(&mut self) -> Outcome {
        let flags = CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC;
        unshare(flags).call(|| "unshare(NEWNS|NEWNET|NEWUTS|NEWIPC)")?;
        self.channel.send(&Report::Namespaces, &[])?;
        let slash = nix::fcntl::open("/", OFlag::O_PATH, nix::sys::stat::Mode::empty())
            .call(|| "open(\"/\")")?;
        Ok(osctl_linux::mount::make_private(slash.as_fd())?)
    }

    fn pivot(&mut self) -> Outcome {
        let root = self.root()?;
        nix::unistd::fchdir(root).call(|| "fchdir(rootfs)")?;
        osctl_linux::mount::pivot_here()?;
        self.root = Some(Root::open_tree("/", Symlinks::InRoot, Mounts::Cross)?);
        Ok(())
    }

    fn set_names(&mut self) -> Outcome {
        let name = &self.spec.hostname;
        nix::unistd::sethostname(name).call(|| format!("sethostname({name:?})"))?;
        if let Some(domain) = &self.spec.domainname {
            process::set_domainname(domain)?;
        }
        Ok(())
    }

    fn loopback(&mut self) -> Outcome {
        Ok(process::link_up("lo")?)
    }

    fn write_files(&mut self) -> Outcome {
        for change in &self.spec.files {
            if let Err(fault) = files::apply(self.root()?, change) {
                self.warn(format!("cannot write {:?}: {}", change.path, fault.text()))?;
            }
        }
        Ok(())
    }

    fn await_go(&mut self) -> Outcome {
        self.channel.send(&Report::Ready, &[])?;
        self.expect(Order::Go).map(drop)
    }

    fn capabilities(&mut self) -> Outcome {
        policy::restrict_capabilities(&self.spec.drop_capabilities)
    }

    /// Not with the exec, which would take away that this process ends with the supervisor.
    fn set_label(&mut self) -> Outcome {
        match (self.label.take(), &self.spec.apparmor) {
            (Some(file), Some(profile)) => policy::set_label(file, Labelled::Now, profile),
            _ => Ok(()),
        }
    }

    fn streams(&mut self) -> Outcome {
        let console = self.console.take();
        let console = console.ok_or_else(|| Fault::refused("there is no console"))?;
        program::settle(&[console.as_fd(), console.as_fd(), console.as_fd()])?;
        // Its number may be one of the standard streams' by now: not to be closed.
        let _ = std::os::fd::IntoRawFd::into_raw_fd(console);
        Ok(())
    }

    /// Last: the programs need not allow what setting up a container takes.
    fn seccomp(&mut self) -> Outcome {
        policy::seccomp(&self.spec.seccomp)
    }

    fn run_init(&mut self) -> Outcome {
        let argv = match &self.spec.init {
            Init::Exec { argv } => argv,
            Init::Pause => {
                self.channel.send(&Report::Exec, &[])?;
                pause::run()
            }
        };
        let mut env = vec![
            ("container", "lxc"),
            ("TERM", "linux"),
            ("PATH", DEFAULT_PATH),
        ];
        env.extend(self.spec.env.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        let program = Program::new(argv, &env)?;
        self.channel.send(&Report::Exec, &[])?;
        let (_, fault) = program.run();
        Err(fault).during(|| format!("cannot run {:?}", argv[0]))
    }
}
