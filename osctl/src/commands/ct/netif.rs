//! `osctl ct netif`: network interfaces of containers, their addresses and routes.

use osctl_api::names::Ref;
use osctl_api::net::IfName;
use osctl_api::netif::{self, BridgeOptions, Kind, Options};

use crate::commands::tables;
use crate::context::Context;
use crate::failure::Outcome;
use crate::list::{ListOptions, View};
use crate::tree::{Node, Verb, group as noun, verb};

/// The tree below `osctl ct netif`.
pub const NODES: &[Node] = &[
    verb::<Ls>(&["ls", "list"]),
    noun(
        &["new", "create"],
        "Add a network interface to a container",
        &[
            verb::<NewBridge>(&["bridge"]),
            verb::<NewRouted>(&["routed"]),
        ],
    ),
    verb::<netif::Delete>(&["del", "delete"]),
    verb::<netif::Rename>(&["rename"]),
    verb::<Set>(&["set"]),
    noun(
        &["ip"],
        "Manage addresses of network interfaces",
        &[
            verb::<IpLs>(&["ls", "list"]),
            verb::<netif::IpAdd>(&["add"]),
            verb::<netif::IpDelete>(&["del", "delete"]),
        ],
    ),
    noun(
        &["route"],
        "Manage networks that are routed to containers",
        &[
            verb::<RouteLs>(&["ls", "list"]),
            verb::<netif::RouteAdd>(&["add"]),
            verb::<netif::RouteDelete>(&["del", "delete"]),
        ],
    ),
];

/// List network interfaces of containers
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Ls {
    /// Of this container; of all when absent
    #[arg(value_name = "CTID")]
    id: Option<Ref>,
    /// Only interfaces of this kind
    #[arg(short, long = "type", value_enum)]
    kind: Option<Kind>,
    /// Only interfaces on this bridge
    #[arg(short, long, value_name = "BRIDGE")]
    link: Option<IfName>,
    #[command(flatten)]
    list: ListOptions,
}

impl Verb for Ls {
    fn run(self, cx: &mut Context) -> Outcome {
        View::list(&tables::NETIF, &self.list)?.tell(cx, |cx| {
            Ok(cx
                .daemon
                .call(&netif::List {
                    id: self.id,
                    pool: cx.pool.clone(),
                    kind: self.kind,
                    link: self.link,
                })?
                .netifs)
        })
    }
}

/// An option that can be switched on or off.
#[derive(Debug, clap::Args)]
#[group(skip)]
struct AntiSpoof {
    /// Let only its own addresses come out of it (this is the default)
    #[arg(long, overrides_with = "no_anti_spoof")]
    anti_spoof: bool,
    /// Let anything come out of it, also under addresses of others
    #[arg(long, overrides_with = "anti_spoof")]
    no_anti_spoof: bool,
}

impl AntiSpoof {
    fn chosen(&self) -> Option<bool> {
        choice(self.anti_spoof, self.no_anti_spoof)
    }
}

fn choice(on: bool, off: bool) -> Option<bool> {
    match (on, off) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}

/// Add an interface that is a port of a bridge of the host
///
/// Its addresses come from a DHCP server on the bridge, unless --no-dhcp is given.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct NewBridge {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Name in the container
    #[arg(value_name = "IFNAME")]
    name: IfName,
    #[command(flatten)]
    bridge: BridgeOptions,
    /// Have the container ask a DHCP server for its addresses (this is the default)
    #[arg(long, overrides_with = "no_dhcp")]
    dhcp: bool,
    /// Give it the addresses that are added to it
    #[arg(long, overrides_with = "dhcp")]
    no_dhcp: bool,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    anti_spoof: AntiSpoof,
}

impl Verb for NewBridge {
    fn run(self, cx: &mut Context) -> Outcome {
        let params = netif::New {
            id: cx.on_pool(self.id),
            name: self.name,
            kind: Kind::Bridge,
            bridge: BridgeOptions {
                dhcp: choice(self.dhcp, self.no_dhcp),
                ..self.bridge
            },
            options: Options {
                anti_spoof: self.anti_spoof.chosen(),
                ..self.options
            },
        };
        cx.done(&params)
    }
}

/// Add an interface that the host routes to, point to point
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct NewRouted {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Name in the container
    #[arg(value_name = "IFNAME")]
    name: IfName,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    anti_spoof: AntiSpoof,
}

impl Verb for NewRouted {
    fn run(self, cx: &mut Context) -> Outcome {
        let params = netif::New {
            id: cx.on_pool(self.id),
            name: self.name,
            kind: Kind::Routed,
            bridge: BridgeOptions::default(),
            options: Options {
                anti_spoof: self.anti_spoof.chosen(),
                ..self.options
            },
        };
        cx.done(&params)
    }
}

/// Change a network interface of a container
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Set {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Name of the interface
    #[arg(value_name = "IFNAME")]
    name: IfName,
    #[command(flatten)]
    bridge: BridgeOptions,
    /// Have the container ask a DHCP server for its addresses
    #[arg(long, visible_alias = "dhcp", overrides_with = "disable_dhcp")]
    enable_dhcp: bool,
    /// Give it the addresses that are added to it
    #[arg(long, visible_alias = "no-dhcp", overrides_with = "enable_dhcp")]
    disable_dhcp: bool,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    anti_spoof: AntiSpoof,
}

impl Verb for Set {
    fn run(self, cx: &mut Context) -> Outcome {
        let params = netif::Set {
            id: cx.on_pool(self.id),
            name: self.name,
            bridge: BridgeOptions {
                dhcp: choice(self.enable_dhcp, self.disable_dhcp),
                ..self.bridge
            },
            options: Options {
                anti_spoof: self.anti_spoof.chosen(),
                ..self.options
            },
        };
        cx.done(&params)
    }
}

/// List addresses of network interfaces
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct IpLs {
    #[command(flatten)]
    params: netif::IpList,
    #[command(flatten)]
    list: ListOptions,
}

impl Verb for IpLs {
    fn run(mut self, cx: &mut Context) -> Outcome {
        View::list(&tables::NETIF_IP, &self.list)?.tell(cx, |cx| {
            self.params.pool = cx.pool.clone();
            Ok(cx.daemon.call(&self.params)?.addresses)
        })
    }
}

/// List networks that are routed to containers
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct RouteLs {
    #[command(flatten)]
    params: netif::RouteList,
    #[command(flatten)]
    list: ListOptions,
}

impl Verb for RouteLs {
    fn run(mut self, cx: &mut Context) -> Outcome {
        View::list(&tables::NETIF_ROUTE, &self.list)?.tell(cx, |cx| {
            self.params.pool = cx.pool.clone();
            Ok(cx.daemon.call(&self.params)?.routes)
        })
    }
}
