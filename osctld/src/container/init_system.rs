//! How the init of a guest wants to be asked to shut down.
//!
//! It looks at one symbolic link of the guest's root, through the resolver that can't leave it.

use std::path::Path;

use osctl_linux::beneath::Root;

/// How to ask an init to shut down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shutdown {
    /// Send this signal to init.
    Signal(i32),
    /// Run the first of these commands that there is.
    Commands(&'static [&'static [&'static str]]),
}

/// An init system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitSystem {
    /// systemd, see systemd(1), section Signals.
    Systemd,
    /// OpenRC's own init, see openrc-init(8).
    OpenRc,
    /// runit, see runit-init(8).
    Runit,
    /// busybox' init: SIGUSR2 powers off.
    Busybox,
    /// Anything else, handled as sysvinit.
    Other,
}

/// SIGRTMIN of the C libraries in use: the kernel's 32 and two that they keep to themselves.
const SIGRTMIN: i32 = 34;
const SIGUSR2: i32 = 12;

impl InitSystem {
    /// What `command`, an absolute path in `root`, is.
    pub fn detect(root: &Root, command: &str) -> InitSystem {
        let mut path = command.to_owned();
        for _ in 0..8 {
            if let Some(known) = InitSystem::of_name(&path) {
                return known;
            }
            let Ok(target) = root.read_link(Path::new(&path)) else {
                break;
            };
            let target = target.to_string_lossy().into_owned();
            path = if target.starts_with('/') {
                target
            } else {
                let parent = Path::new(&path).parent().unwrap_or(Path::new("/"));
                parent.join(target).to_string_lossy().into_owned()
            };
        }
        InitSystem::Other
    }

    fn of_name(path: &str) -> Option<InitSystem> {
        match path.rsplit('/').next().unwrap_or(path) {
            "systemd" => Some(InitSystem::Systemd),
            "openrc-init" => Some(InitSystem::OpenRc),
            "runit-init" | "runit" => Some(InitSystem::Runit),
            "busybox" => Some(InitSystem::Busybox),
            _ => None,
        }
    }

    /// How to ask it to shut down.
    pub fn shutdown(self) -> Shutdown {
        match self {
            InitSystem::Systemd => Shutdown::Signal(SIGRTMIN + 4),
            InitSystem::Busybox => Shutdown::Signal(SIGUSR2),
            InitSystem::OpenRc => Shutdown::Commands(&[
                &["/sbin/openrc-shutdown", "--poweroff", "now"],
                &["/usr/sbin/openrc-shutdown", "--poweroff", "now"],
            ]),
            InitSystem::Runit => Shutdown::Commands(&[
                &["/sbin/init", "0"],
                &["/sbin/runit-init", "0"],
                &["/usr/bin/runit-init", "0"],
            ]),
            InitSystem::Other => Shutdown::Commands(&[
                &["/sbin/poweroff"],
                &["/sbin/halt", "-p"],
                &["/sbin/shutdown", "-h", "now"],
            ]),
        }
    }

    /// How to ask it to reboot.
    pub fn reboot(self) -> Shutdown {
        match self {
            InitSystem::Systemd => Shutdown::Signal(SIGRTMIN + 5),
            InitSystem::Busybox => Shutdown::Signal(15),
            InitSystem::OpenRc => Shutdown::Commands(&[
                &["/sbin/openrc-shutdown", "--reboot", "now"],
                &["/usr/sbin/openrc-shutdown", "--reboot", "now"],
            ]),
            InitSystem::Runit => Shutdown::Commands(&[
                &["/sbin/init", "6"],
                &["/sbin/runit-init", "6"],
                &["/usr/bin/runit-init", "6"],
            ]),
            InitSystem::Other => {
                Shutdown::Commands(&[&["/sbin/reboot"], &["/sbin/shutdown", "-r", "now"]])
            }
        }
    }
}
