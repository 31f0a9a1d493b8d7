//! `osctl ct dataset`.

use osctl_api::mounts::{DatasetDelete, DatasetList, DatasetName, DatasetNew, Mountpoint};
use osctl_api::names::Ref;

use crate::commands::tables;
use crate::context::Context;
use crate::failure::Outcome;
use crate::list::{ListOptions, View};
use crate::tree::{Node, Verb, verb};

/// The tree below `osctl ct dataset`.
pub const NODES: &[Node] = &[
    verb::<Ls>(&["ls", "list"]),
    verb::<New>(&["new", "create"]),
    verb::<DatasetDelete>(&["del", "delete"]),
];

done!(DatasetDelete { id });

/// List the datasets of a container
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
        View::list(&tables::DATASET, &self.list)?.tell(cx, |cx| {
            let id = cx.on_pool(self.id);
            Ok(cx.daemon.call(&DatasetList { id })?.datasets)
        })
    }
}

/// Make a dataset of a container, with those above it that are missing
///
/// What is made is mounted at every start, and now when the container runs. It hides what the
/// container had in that place.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct New {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// The dataset, by its name in the container, such as `var/lib`
    dataset: DatasetName,
    /// Where in the container; in the mountpoint of the dataset above it when absent
    mountpoint: Option<Mountpoint>,
    /// Mount it (this is the default)
    #[arg(long, overrides_with = "no_mount")]
    mount: bool,
    /// Only make it
    #[arg(long, overrides_with = "mount")]
    no_mount: bool,
}

impl Verb for New {
    fn run(self, cx: &mut Context) -> Outcome {
        let id = cx.on_pool(self.id);
        cx.done(&DatasetNew {
            id,
            dataset: self.dataset,
            mountpoint: self.mountpoint,
            mount: !self.no_mount,
        })
    }
}
