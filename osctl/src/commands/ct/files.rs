//! Files of containers and their logs, to standard output.

use std::os::fd::{AsFd, OwnedFd};

use osctl_api::container;
use osctl_api::names::Ref;

use crate::commands::tables;
use crate::context::{Context, to_value};
use crate::failure::{DONE, Failure, Outcome};
use crate::list::{ListOptions, View};
use crate::tree::Verb;
use crate::ui::{Stream, Ui};

/// Print files of a container
#[derive(Debug, clap::Args)]
pub struct Cat {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Absolute paths in the container
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
}

impl Verb for Cat {
    fn run(self, cx: &mut Context) -> Outcome {
        let id = cx.on_pool(self.id);
        if let Some(path) = self.files.iter().find(|f| !f.starts_with('/')) {
            return Err(Failure::usage(format!("{path:?} is not an absolute path")));
        }
        for path in self.files {
            let params = container::Cat {
                id: id.clone(),
                path,
            };
            print(cx, &params)?;
        }
        Ok(DONE)
    }
}

fn print(cx: &mut Context, params: &container::Cat) -> Result<(), Failure> {
    if !Stream::Out.is_tty() {
        cx.daemon.call_fds(params, &[Stream::Out])?;
        return Ok(());
    }
    // a terminal of the host is not passed into a guest
    let cannot = |e: std::io::Error| Failure::local("cannot make a pipe", &e);
    let (read, write) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| cannot(e.into()))?;
    let ui = cx.ui.clone();
    let relay = std::thread::Builder::new()
        .spawn(move || relay(&ui, &read))
        .map_err(cannot)?;
    let called = cx.daemon.call_fds(params, &[write.as_fd()]);
    drop(write);
    let relayed = relay.join().unwrap_or(Err(Failure::Closed));
    called?;
    relayed
}

fn relay(ui: &Ui, source: &OwnedFd) -> Result<(), Failure> {
    let mut piece = vec![0u8; 64 * 1024];
    loop {
        match rustix::io::read(source, &mut piece[..]) {
            Ok(0) => return Ok(()),
            Ok(n) => ui.raw(&piece[..n])?,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => {
                let e = std::io::Error::from(e);
                return Err(Failure::local("cannot read what the daemon sent", &e));
            }
        }
    }
}

/// Print the log of a container
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct LogCat {
    #[command(flatten)]
    params: container::LogCat,
}

impl Verb for LogCat {
    fn run(mut self, cx: &mut Context) -> Outcome {
        self.params.id = cx.on_pool(self.params.id);
        let log = cx.daemon.call_session(&self.params, &[] as &[OwnedFd])?;
        relay(&cx.ui, &log)?;
        Ok(DONE)
    }
}

/// List what the AppArmor profile of a container refused since the host was booted
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct LogDenials {
    #[command(flatten)]
    params: container::LogDenials,
    #[command(flatten)]
    list: ListOptions,
}

impl Verb for LogDenials {
    fn run(mut self, cx: &mut Context) -> Outcome {
        let view = View::list(&tables::DENIAL, &self.list)?;
        if let Some(outcome) = view.names(cx) {
            return outcome;
        }
        self.params.id = cx.on_pool(self.params.id);
        let reply = cx.daemon.call(&self.params)?;
        let rows: Result<_, _> = reply.denials.iter().map(to_value).collect();
        view.print_list(cx, rows?)
    }
}
