//! The console: a terminal of the container's own, on `/dev/console` and init's standard streams.

use std::os::fd::AsFd;

use osctl_linux::beneath::{Mounts, Symlinks};
use osctl_linux::mount::{self, Depth};
use osctl_linux::tty::open_pty;

use super::Stage;
use crate::fault::{Fault, Outcome};
use crate::report::Report;

impl Stage<'_> {
    /// The supervisor gets both ends: with the slave open it never sees the terminal hung up while
    /// nobody in the guest happens to have it open.
    pub(super) fn make_console(&mut self) -> Outcome {
        let devpts = self.devpts.take();
        let devpts = devpts.ok_or_else(|| Fault::refused("devpts is not mounted yet"))?;
        let pty = open_pty(devpts.as_fd())?;
        let tree = mount::clone_fd(pty.slave.as_fd(), Depth::One)?;
        let root = self.root()?.with(Symlinks::Refuse, Mounts::Cross)?;
        mount::attach(tree.as_fd(), root.node("dev/console")?.as_fd())?;
        self.channel
            .send(&Report::Console, &[pty.master.as_fd(), pty.slave.as_fd()])?;
        self.console = Some(pty.slave);
        Ok(())
    }
}
