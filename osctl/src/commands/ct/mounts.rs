//! `osctl ct mounts`.

use osctl_api::mounts::{self, DatasetName, MountOptions, MountType, Mountpoint};
use osctl_api::names::Ref;

use crate::commands::tables;
use crate::context::Context;
use crate::failure::Outcome;
use crate::list::{ListOptions, View};
use crate::tree::{Node, Verb, verb};

/// The tree below `osctl ct mounts`.
pub const NODES: &[Node] = &[
    verb::<Ls>(&["ls", "list"]),
    verb::<New>(&["new", "create"]),
    verb::<Dataset>(&["dataset"]),
    verb::<mounts::Register>(&["register", "reg"]),
    verb::<mounts::Activate>(&["activate"]),
    verb::<mounts::Deactivate>(&["deactivate"]),
    verb::<mounts::Delete>(&["del", "delete"]),
    verb::<mounts::Clear>(&["clear"]),
];

done!(
    mounts::Register { id };
    mounts::Activate { id };
    mounts::Deactivate { id };
    mounts::Delete { id };
    mounts::Clear { id };
);

/// List what is mounted in a container
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Ls {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    #[command(flatten)]
    list: ListOptions,
}

impl Verb for Ls {
    fn run(self, cx: &mut Context) -> Outcome {
        View::list(&tables::MOUNT, &self.list)?.tell(cx, |cx| {
            let id = cx.on_pool(self.id);
            Ok(cx.daemon.call(&mounts::List { id })?.mounts)
        })
    }
}

/// When it is mounted.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Automount {
    /// Mount it whenever the container starts, and now when it runs (this is the default)
    #[arg(long, overrides_with = "no_automount")]
    automount: bool,
    /// Mount it only with `osctl ct mounts activate`
    #[arg(long, overrides_with = "automount")]
    no_automount: bool,
}

/// Mount a directory or file of the host, or a file system in memory, in a container
///
/// Options are words joined by commas: bind or rbind (with the mounts below it), ro or rw, noexec,
/// noatime, create=dir or create=file (makes a missing mountpoint), optional (the container starts
/// also without it), idmap (root of the container is root there); for type tmpfs size=, mode= and
/// nr_inodes=. Without idmap, what is root's on the host is nobody's in the container. All mounts
/// are nosuid and nodev. Neither path may go through a symbolic link.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct New {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// File or directory of the host; any word with type tmpfs
    #[arg(long, value_name = "PATH")]
    fs: String,
    /// Where in the container
    #[arg(long, value_name = "PATH")]
    mountpoint: Mountpoint,
    /// What kind of file system
    #[arg(long = "type", value_enum, default_value_t)]
    kind: MountType,
    /// Options
    #[arg(long, default_value = "create=dir,rw")]
    opts: MountOptions,
    #[command(flatten)]
    automount: Automount,
}

impl Verb for New {
    fn run(self, cx: &mut Context) -> Outcome {
        let id = cx.on_pool(self.id);
        cx.done(&mounts::New {
            id,
            fs: self.fs,
            mountpoint: self.mountpoint,
            kind: self.kind,
            opts: self.opts,
            automount: !self.automount.no_automount,
        })
    }
}

/// Mount a dataset of a container in it
///
/// It goes where the container goes. Its ids are the container's.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Dataset {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// The dataset, by its name in the container, such as `var/lib`
    dataset: DatasetName,
    /// Where in the container
    mountpoint: Mountpoint,
    /// Nothing can be written to it
    #[arg(long, visible_alias = "ro", overrides_with = "read_write")]
    read_only: bool,
    /// It can be written to (this is the default)
    #[arg(long, visible_alias = "rw", overrides_with = "read_only")]
    read_write: bool,
    #[command(flatten)]
    automount: Automount,
}

impl Verb for Dataset {
    fn run(self, cx: &mut Context) -> Outcome {
        let id = cx.on_pool(self.id);
        cx.done(&mounts::MountDataset {
            id,
            dataset: self.dataset,
            mountpoint: self.mountpoint,
            read_only: self.read_only,
            automount: !self.automount.no_automount,
        })
    }
}
