//! `osctl ct dataset`.

use osctl_api::mounts::{
    DatasetDelete, DatasetList, DatasetName, DatasetNew, DatasetQuota, Mountpoint,
};
use osctl_api::names::Ref;

use crate::commands::tables;
use crate::context::Context;
use crate::failure::Outcome;
use crate::list::{ListOptions, View};
use crate::tree::{Node, Verb, group, verb};

/// The tree below `osctl ct dataset`.
pub const NODES: &[Node] = &[
    verb::<Ls>(&["ls", "list"]),
    verb::<New>(&["new", "create"]),
    verb::<DatasetDelete>(&["del", "delete"]),
    group(
        &["set"],
        "Change settings of a dataset",
        &[verb::<SetQuota>(&["quota"])],
    ),
    group(
        &["unset"],
        "Return settings of a dataset to their defaults",
        &[verb::<UnsetQuota>(&["quota"])],
    ),
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

/// Bound what the files of a dataset may take
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct SetQuota {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// The dataset
    dataset: DatasetName,
    /// Bytes, with k, m, g or t for multiples of 1024
    #[arg(value_name = "SIZE", value_parser = osctl_api::size::parse)]
    quota: u64,
}

impl Verb for SetQuota {
    fn run(self, cx: &mut Context) -> Outcome {
        let id = cx.on_pool(self.id);
        cx.done(&DatasetQuota {
            id,
            dataset: self.dataset,
            quota: Some(self.quota),
        })
    }
}

/// Let the files of a dataset take what there is
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct UnsetQuota {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// The dataset
    dataset: DatasetName,
}

impl Verb for UnsetQuota {
    fn run(self, cx: &mut Context) -> Outcome {
        let id = cx.on_pool(self.id);
        cx.done(&DatasetQuota {
            id,
            dataset: self.dataset,
            quota: None,
        })
    }
}
