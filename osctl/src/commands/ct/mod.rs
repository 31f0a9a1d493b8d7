//! `osctl ct`: its tree, and the commands that need no more than a call.

use osctl_api::{container, copies};

use super::{assets, monitor};
use crate::cli::absolute;
use crate::context::Context;
use crate::failure::Outcome;
use crate::tree::{Node, Verb, group as noun, verb};

mod access;
mod archive;
mod dataset;
mod devices;
mod enter;
mod files;
mod firewall;
mod limits;
mod list;
mod mounts;
mod netif;
mod power;
mod processes;
mod set;
mod snapshot;
mod unset;
mod wait;

/// The tree below `osctl ct`.
pub const NODES: &[Node] = &[
    verb::<container::New>(&["new", "create"]),
    verb::<container::Delete>(&["del", "delete"]),
    verb::<list::Ls>(&["ls", "list"]),
    verb::<list::Show>(&["show", "info"]),
    verb::<copies::Copy>(&["cp", "copy"]),
    verb::<container::Move>(&["mv", "move"]),
    verb::<archive::Export>(&["export"]),
    verb::<archive::Import>(&["import"]),
    verb::<copies::Reinstall>(&["reinstall"]),
    verb::<copies::Boot>(&["boot"]),
    verb::<container::Chown>(&["chown"]),
    verb::<container::Chgrp>(&["chgrp"]),
    verb::<power::Start>(&["start"]),
    verb::<power::Stop>(&["stop"]),
    verb::<power::Restart>(&["restart"]),
    verb::<container::Freeze>(&["freeze"]),
    verb::<container::Unfreeze>(&["unfreeze", "thaw"]),
    verb::<enter::Exec>(&["exec"]),
    verb::<enter::RunScript>(&["runscript"]),
    verb::<enter::Attach>(&["attach", "enter"]),
    verb::<access::Console>(&["console"]),
    verb::<access::Passwd>(&["passwd"]),
    verb::<wait::Wait>(&["wait"]),
    verb::<processes::Ps>(&["ps"]),
    verb::<processes::Pid>(&["pid"]),
    noun(
        &["log"],
        "Read the log of a container",
        &[
            verb::<files::LogCat>(&["cat"]),
            verb::<container::LogPath>(&["path"]),
            verb::<files::LogDenials>(&["denials"]),
        ],
    ),
    verb::<files::Cat>(&["cat"]),
    verb::<assets::OfContainer>(&["assets"]),
    verb::<monitor::OfContainers>(&["monitor"]),
    noun(&["set"], "Change settings of a container", set::NODES),
    noun(
        &["unset"],
        "Return settings of a container to their defaults",
        unset::NODES,
    ),
    noun(
        &["firewall"],
        "Manage the firewall of a container",
        firewall::NODES,
    ),
    noun(
        &["cgparams"],
        "Manage cgroup parameters of a container",
        &[
            verb::<limits::CgparamsLs>(&["ls", "list"]),
            verb::<limits::CgparamsSet>(&["set"]),
            verb::<limits::CgparamsUnset>(&["unset"]),
            verb::<container::CgparamsApply>(&["apply"]),
            verb::<limits::CgparamsReplace>(&["replace"]),
        ],
    ),
    noun(
        &["prlimits"],
        "Manage resource limits of a container",
        &[
            verb::<limits::PrlimitsLs>(&["ls", "list"]),
            verb::<limits::PrlimitsSet>(&["set"]),
            verb::<limits::PrlimitsUnset>(&["unset"]),
        ],
    ),
    noun(
        &["devices"],
        "Manage devices of a container",
        &[
            verb::<devices::Ls>(&["ls", "list"]),
            verb::<container::DevicesAdd>(&["add"]),
            verb::<container::DevicesDelete>(&["del", "delete"]),
            verb::<container::DevicesChmod>(&["chmod"]),
            verb::<devices::Replace>(&["replace"]),
        ],
    ),
    noun(
        &["dataset"],
        "Manage datasets of a container",
        dataset::NODES,
    ),
    noun(
        &["mounts"],
        "Manage what is mounted in a container",
        mounts::NODES,
    ),
    noun(
        &["netif", "net"],
        "Manage network interfaces of a container",
        netif::NODES,
    ),
    noun(
        &["snapshot", "snap"],
        "Manage snapshots of containers",
        snapshot::NODES,
    ),
    noun(
        &["recover"],
        "Repair a container",
        &[
            verb::<container::RecoverState>(&["state"]),
            verb::<container::RecoverCleanup>(&["cleanup"]),
        ],
    ),
];

impl Verb for container::New {
    fn run(mut self, cx: &mut Context) -> Outcome {
        self.id = cx.on_pool(self.id);
        if let Some(path) = &mut self.from_archive {
            *path = absolute(path)?;
        }
        let object = cx.daemon.progress(&cx.ui, &self)?;
        cx.object(&object)
    }
}

impl Verb for container::Delete {
    fn run(mut self, cx: &mut Context) -> Outcome {
        self.id = cx.on_pool(self.id);
        cx.progress_done(&self)
    }
}

impl Verb for container::Move {
    fn run(mut self, cx: &mut Context) -> Outcome {
        self.id = cx.on_pool(self.id);
        cx.progress_done(&self)
    }
}

impl Verb for copies::Reinstall {
    fn run(mut self, cx: &mut Context) -> Outcome {
        self.id = cx.on_pool(self.id);
        self.from_archive = absolute(&self.from_archive)?;
        cx.progress_done(&self)
    }
}

impl Verb for copies::Boot {
    fn run(mut self, cx: &mut Context) -> Outcome {
        self.id = cx.on_pool(self.id);
        self.from_archive = absolute(&self.from_archive)?;
        cx.progress_done(&self)
    }
}

impl Verb for copies::Copy {
    fn run(mut self, cx: &mut Context) -> Outcome {
        self.id = cx.on_pool(self.id);
        let object = cx.daemon.progress(&cx.ui, &self)?;
        cx.object(&object)
    }
}

impl Verb for container::LogPath {
    fn run(mut self, cx: &mut Context) -> Outcome {
        self.id = cx.on_pool(self.id);
        let reply = cx.daemon.call(&self)?;
        if cx.ui.json {
            return cx.object(&reply);
        }
        cx.ui.line(&reply.path)?;
        Ok(crate::failure::DONE)
    }
}
