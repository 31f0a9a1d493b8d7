//! The commands, noun by noun, and the tree that they form.

use osctl_api::{
    container, daemon, firewall, group, id_range, netif, pool, trash_bin as api_trash, user,
};

use crate::tree::{Node, group as noun, verb};

/// Implements `Verb` for parameters of which only success matters and that name objects in
/// `Ref` fields.
macro_rules! done {
    ($($params:ty { $($field:ident),* });* $(;)?) => {
        $(impl crate::tree::Verb for $params {
            fn run(
                #[allow(unused_mut)] mut self,
                cx: &mut crate::context::Context,
            ) -> crate::failure::Outcome {
                $(self.$field = cx.on_pool(self.$field);)*
                cx.done(&self)
            }
        })*
    };
}

/// Implements `Verb` for parameters that name one object and whose reply is that object, which
/// is printed when JSON was asked for.
macro_rules! object {
    ($($params:ty { $($field:ident),* });* $(;)?) => {
        $(impl crate::tree::Verb for $params {
            fn run(
                #[allow(unused_mut)] mut self,
                cx: &mut crate::context::Context,
            ) -> crate::failure::Outcome {
                $(self.$field = cx.on_pool(self.$field);)*
                let object = cx.daemon.call(&self)?;
                cx.object(&object)
            }
        })*
    };
}

mod address_sets;
mod args;
mod assets;
pub mod ct;
pub mod generate;
mod groups;
mod health;
mod history;
mod id_ranges;
mod input;
mod monitor;
mod ping;
mod pools;
mod shutdown;
mod tables;
mod trash_bin;
mod users;

/// The tree of commands.
pub const ROOT: &[Node] = &[
    noun(&["ct", "vps"], "Manage containers", ct::NODES),
    noun(&["pool"], "Manage pools, where containers live", POOL),
    noun(
        &["id-range", "id-ranges"],
        "Manage id ranges, from which id maps are allocated",
        ID_RANGE,
    ),
    noun(&["user"], "Manage users: id maps of containers", USER),
    noun(
        &["group"],
        "Manage groups, whose limits containers share",
        GROUP,
    ),
    noun(
        &["firewall"],
        "Manage what firewalls of containers share",
        &[noun(
            &["set"],
            "Manage named sets of addresses",
            address_sets::NODES,
        )],
    ),
    noun(
        &["trash-bin"],
        "See to what was deleted",
        &[
            verb::<trash_bin::Ls>(&["ls", "list"]),
            verb::<api_trash::Prune>(&["prune"]),
            noun(
                &["dataset"],
                "Destroy datasets that are nobody's",
                &[verb::<api_trash::DatasetAdd>(&["add"])],
            ),
        ],
    ),
    noun(
        &["garbage-collector"],
        "Remove what operations have left behind",
        &[verb::<api_trash::Collect>(&["prune"])],
    ),
    verb::<monitor::Monitor>(&["monitor"]),
    verb::<daemon::History>(&["history"]),
    verb::<daemon::Healthcheck>(&["healthcheck"]),
    verb::<assets::OfDaemon>(&["assets"]),
    verb::<ping::Ping>(&["ping"]),
    verb::<shutdown::Shutdown>(&["shutdown"]),
    verb::<generate::Completion>(&["gen-completion"]).hidden(),
    verb::<generate::Man>(&["gen-man"]).hidden(),
];

const POOL: &[Node] = &[
    verb::<pools::Install>(&["install"]),
    verb::<pool::Uninstall>(&["uninstall"]),
    verb::<pools::Import>(&["import"]),
    verb::<pool::Export>(&["export"]),
    verb::<pools::Ls>(&["ls", "list"]),
    verb::<pools::Show>(&["show", "info"]),
    verb::<assets::OfPool>(&["assets"]),
    noun(
        &["autostart"],
        "See and change what waits to be started",
        &[
            verb::<pools::Queue>(&["queue"]),
            verb::<pool::AutostartTrigger>(&["trigger"]),
            verb::<pool::AutostartCancel>(&["cancel"]),
        ],
    ),
    noun(
        &["set"],
        "Change settings of a pool",
        &[
            verb::<pools::SetParallelStart>(&["parallel-start"]),
            verb::<pools::SetParallelStop>(&["parallel-stop"]),
            verb::<pools::SetAttr>(&["attr"]),
        ],
    ),
    noun(
        &["unset"],
        "Return settings of a pool to their defaults",
        &[
            verb::<pools::UnsetParallelStart>(&["parallel-start"]),
            verb::<pools::UnsetParallelStop>(&["parallel-stop"]),
            verb::<pools::UnsetAttr>(&["attr"]),
        ],
    ),
];

const ID_RANGE: &[Node] = &[
    verb::<id_range::New>(&["new", "create"]),
    verb::<id_range::Delete>(&["del", "delete"]),
    verb::<id_ranges::Ls>(&["ls", "list"]),
    verb::<id_ranges::Show>(&["show", "info"]),
    noun(
        &["table"],
        "See which blocks are allocated",
        &[
            verb::<id_ranges::TableLs>(&["ls", "list"]),
            verb::<id_ranges::TableShow>(&["show", "info"]),
        ],
    ),
    verb::<id_ranges::Allocate>(&["allocate"]),
    verb::<id_range::Free>(&["free"]),
    noun(
        &["set"],
        "Change settings of an id range",
        &[verb::<id_ranges::SetAttr>(&["attr"])],
    ),
    noun(
        &["unset"],
        "Return settings of an id range to their defaults",
        &[verb::<id_ranges::UnsetAttr>(&["attr"])],
    ),
];

const USER: &[Node] = &[
    verb::<user::New>(&["new", "create"]),
    verb::<user::Delete>(&["del", "delete"]),
    verb::<users::Ls>(&["ls", "list"]),
    verb::<users::Show>(&["show", "info"]),
    verb::<users::Map>(&["map"]),
    noun(
        &["set"],
        "Change settings of a user",
        &[
            verb::<users::SetStandalone>(&["standalone"]),
            verb::<users::SetAttr>(&["attr"]),
        ],
    ),
    noun(
        &["unset"],
        "Return settings of a user to their defaults",
        &[
            verb::<users::UnsetStandalone>(&["standalone"]),
            verb::<users::UnsetAttr>(&["attr"]),
        ],
    ),
];

const GROUP: &[Node] = &[
    verb::<group::New>(&["new", "create"]),
    verb::<group::Delete>(&["del", "delete"]),
    verb::<groups::Ls>(&["ls", "list"]),
    verb::<groups::Show>(&["show", "info"]),
    noun(
        &["set"],
        "Change settings of a group",
        &[
            verb::<groups::SetCpuLimit>(&["cpu-limit"]),
            verb::<groups::SetMemoryLimit>(&["memory-limit"]),
            verb::<groups::SetAttr>(&["attr"]),
        ],
    ),
    noun(
        &["unset"],
        "Return settings of a group to their defaults",
        &[
            verb::<groups::UnsetCpuLimit>(&["cpu-limit"]),
            verb::<groups::UnsetMemoryLimit>(&["memory-limit"]),
            verb::<groups::UnsetAttr>(&["attr"]),
        ],
    ),
];

done! {
    id_range::Delete { id_range };
    id_range::Free { id_range };
    user::Delete { user };
    container::Freeze { id };
    container::Unfreeze { id };
    container::Chown { id };
    container::Chgrp { id };
    container::CgparamsApply { id };
    container::DevicesAdd { id };
    container::DevicesDelete { id };
    container::DevicesChmod { id };
    container::RecoverState { id };
    container::RecoverCleanup { id };
    firewall::SetNew { set };
    firewall::SetDelete { set };
    firewall::SetAdd { set };
    firewall::SetRemove { set };
    netif::Delete { id };
    netif::Rename { id };
    netif::IpAdd { id };
    netif::IpDelete { id };
    netif::RouteAdd { id };
    netif::RouteDelete { id };
    pool::Uninstall {};
    pool::AutostartTrigger {};
    pool::AutostartCancel {};
}

object! {
    id_range::New { id_range };
    user::New { user };
}
