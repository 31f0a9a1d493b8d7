//! The container's side of an interface: configuring it directly, and changing it while the
//! container runs.
//!
//! The interface is known by its index: what it is called inside is the container's business. All
//! of it is done again without harm, and does not mind what the container did itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressScope;
use netlink_packet_route::link::LinkAttribute;
use nix::errno::Errno;
use osctl_api::net::{Address, HwAddr, IfName};

use super::error::{Error, Result};
use super::link::label;
use super::message::{self, Link, indexed, with};
use super::netlink::{self, Batch, Socket};
use super::notices::Notices;
use super::wanted::{Attachment, Gateways, Wanted};

/// One interface, in the network namespace of its container.
#[derive(Debug)]
pub struct Inside {
    socket: Socket,
    notices: Notices,
    link: Link,
    label: String,
}

impl Inside {
    /// The interface with an index in a network namespace; `wanted` names it in errors.
    ///
    /// # Errors
    /// [`Error::Gone`] when there is none, because the container removed or moved it; those of
    /// entering the namespace.
    pub fn open(netns: BorrowedFd<'_>, index: u32, wanted: &Wanted) -> Result<Inside> {
        let (mut socket, notices) = netlink::in_namespace(netns, || {
            let notices = Notices::of_addresses()?;
            Socket::open().map(|socket| (socket, notices))
        })??;
        let label = label(wanted);
        let mut batch = Batch::new();
        batch.add_tolerating(
            RouteNetlinkMessage::GetLink(with(indexed(index), [message::without_counters()])),
            0,
            &[Errno::ENODEV],
            format!("look for {label}"),
        );
        let replies = socket.run(batch)?;
        match Link::all(&replies).next() {
            Some(link) => Ok(Inside {
                socket,
                notices,
                link,
                label,
            }),
            None => Err(Error::Gone(label)),
        }
    }

    /// What the interface is now.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Gives the interface everything that is wanted: name, hardware address, addresses, default
    /// routes; both it and the loopback interface are up afterwards. Addresses that it has beyond
    /// those stay.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn configure(&mut self, wanted: &Wanted) -> Result<()> {
        let index = self.link.index;
        let mut batch = Batch::new();
        batch.add_tolerating(
            RouteNetlinkMessage::SetLink(message::up(indexed(1))),
            0,
            &[Errno::ENODEV],
            "let the loopback interface go up",
        );
        if self.link.name != wanted.name.as_str() {
            self.change(&mut batch, LinkAttribute::IfName(wanted.name.to_string()));
        }
        if self.link.hwaddr != wanted.hwaddr.octets() {
            let octets = wanted.hwaddr.octets().to_vec();
            self.change(&mut batch, LinkAttribute::Address(octets));
        }
        let ll = IpNet::new_assert(wanted.hwaddr.link_local().into(), 64);
        // Before it is up, so that the kernel does not make one that it has to check first.
        self.add_net(&mut batch, ll, AddressScope::Link);
        batch.add(
            RouteNetlinkMessage::SetLink(message::up(indexed(index))),
            0,
            format!("let {} go up", self.label),
        );
        let has = message::addresses_of(&mut self.socket, index)?;
        let mut new = direct_addresses(wanted);
        new.retain(|net| !has.contains(net));
        for net in &new {
            self.add_net(&mut batch, *net, AddressScope::Universe);
        }
        self.add_gateways(&mut batch, gateways(wanted));
        self.run(batch)?;
        new.retain(|net| net.addr().is_ipv6());
        Ok(self.notices.until_used(index, new)?)
    }

    /// Gives it another name. What goes through it is interrupted only where the kernel cannot
    /// rename an interface that is up (before 6.2).
    ///
    /// # Errors
    /// What the kernel refuses, such as a name that is in use.
    pub fn rename(&mut self, name: &IfName) -> Result<()> {
        let step = format!("rename {} in its container to {name}", self.label);
        let new = with(
            indexed(self.link.index),
            [LinkAttribute::IfName(name.to_string())],
        );
        let mut batch = Batch::new();
        batch.add(RouteNetlinkMessage::SetLink(new.clone()), 0, step.clone());
        match self.run(batch) {
            Err(Error::Kernel(e)) if e.errno() == Some(Errno::EBUSY) => {
                let index = self.link.index;
                let mut batch = Batch::new();
                for set in [
                    message::down(indexed(index)),
                    new,
                    message::up(indexed(index)),
                ] {
                    batch.add(RouteNetlinkMessage::SetLink(set), 0, step.clone());
                }
                self.run(batch)
            }
            result => result,
        }
    }

    /// Gives it another hardware address.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn set_hwaddr(&mut self, hwaddr: HwAddr) -> Result<()> {
        let mut batch = Batch::new();
        self.change(&mut batch, LinkAttribute::Address(hwaddr.octets().to_vec()));
        self.run(batch)
    }

    /// Sets its largest packet.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn set_mtu(&mut self, mtu: u32) -> Result<()> {
        let mut batch = Batch::new();
        self.change(&mut batch, LinkAttribute::Mtu(mtu));
        self.run(batch)
    }

    /// Adds an address, unless it has it.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn add_address(&mut self, address: Address) -> Result<()> {
        let mut batch = Batch::new();
        self.add_net(&mut batch, address.net(), AddressScope::Universe);
        self.run(batch)
    }

    /// Removes an address, whatever the prefix length that it has inside.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn remove_address(&mut self, address: Address) -> Result<()> {
        let index = self.link.index;
        let mut batch = Batch::new();
        for net in message::addresses_of(&mut self.socket, index)? {
            if net.addr() == address.ip() {
                batch.add_tolerating(
                    RouteNetlinkMessage::DelAddress(message::address(
                        index,
                        net,
                        AddressScope::Universe,
                    )),
                    0,
                    &[Errno::EADDRNOTAVAIL, Errno::ENODEV],
                    format!("remove address {net} from {}", self.label),
                );
            }
        }
        self.run(batch)
    }

    /// Its addresses.
    ///
    /// # Errors
    /// Those of asking the kernel.
    pub fn addresses(&mut self) -> Result<Vec<IpNet>> {
        Ok(message::addresses_of(&mut self.socket, self.link.index)?)
    }

    /// Changes the default routes to those that are wanted now; the interface has to be up. Those
    /// that another interface has stay there.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn change_gateways(&mut self, before: &Wanted, wanted: &Wanted) -> Result<()> {
        let mut batch = Batch::new();
        let (old, new) = (gateways(before), gateways(wanted));
        let but = |these: Gateways, others: Gateways| Gateways {
            v4: these.v4.filter(|_| these.v4 != others.v4),
            v6: these.v6.filter(|_| these.v6 != others.v6),
        };
        for (everything, hop) in default_routes(but(old, new)) {
            let route = message::route(self.link.index, everything, Some(hop));
            batch.add_tolerating(
                RouteNetlinkMessage::DelRoute(route),
                0,
                &[Errno::ESRCH],
                format!("route nothing from {} through {hop} any more", self.label),
            );
        }
        self.add_gateways(&mut batch, but(new, old));
        self.run(batch)
    }

    fn change(&self, batch: &mut Batch, attribute: LinkAttribute) {
        batch.add(
            RouteNetlinkMessage::SetLink(with(indexed(self.link.index), [attribute])),
            0,
            format!("change {} in its container", self.label),
        );
    }

    /// A container that does without IPv6 gets what else there is.
    fn tolerated(net: IpNet) -> &'static [Errno] {
        match net {
            IpNet::V4(_) => &[Errno::EEXIST],
            IpNet::V6(_) => &[Errno::EEXIST, Errno::EACCES, Errno::EOPNOTSUPP],
        }
    }

    fn add_net(&self, batch: &mut Batch, net: IpNet, scope: AddressScope) {
        batch.add_tolerating(
            RouteNetlinkMessage::NewAddress(message::address(self.link.index, net, scope)),
            NLM_F_CREATE | NLM_F_EXCL,
            Self::tolerated(net),
            format!("add address {net} to {}", self.label),
        );
    }

    /// The first interface that has a default route keeps it.
    fn add_gateways(&self, batch: &mut Batch, gateways: Gateways) {
        for (everything, hop) in default_routes(gateways) {
            let route = message::route(self.link.index, everything, Some(hop));
            batch.add_tolerating(
                RouteNetlinkMessage::NewRoute(route),
                NLM_F_CREATE | NLM_F_EXCL,
                Self::tolerated(everything),
                format!("route everything from {} through {hop}", self.label),
            );
        }
    }

    fn run(&mut self, batch: Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        match self.socket.run(batch) {
            Ok(_) => Ok(()),
            Err(e) if e.errno() == Some(Errno::ENODEV) => Err(Error::Gone(self.label.clone())),
            Err(e) => Err(e.into()),
        }
    }
}

/// Configures an interface of a container directly; see [`Inside::configure`].
///
/// # Errors
/// [`Error::Gone`], or what the kernel refuses.
pub fn configure(netns: BorrowedFd<'_>, inside_index: u32, wanted: &Wanted) -> Result<()> {
    Inside::open(netns, inside_index, wanted)?.configure(wanted)
}

/// Addresses that an interface gets without asking anybody: static ones and what the default bridge
/// gives to it.
fn direct_addresses(wanted: &Wanted) -> Vec<IpNet> {
    let mut all: Vec<IpNet> = wanted.addresses.iter().map(|a| a.net()).collect();
    if let Attachment::Bridge {
        lease: Some(lease), ..
    } = &wanted.attachment
    {
        all.extend([lease.v4.net(), lease.v6.net()]);
    }
    all
}

/// Everything, and through what.
fn default_routes(gateways: Gateways) -> impl Iterator<Item = (IpNet, IpAddr)> {
    let everything = |ip| IpNet::new_assert(ip, 0);
    let v4 = everything(Ipv4Addr::UNSPECIFIED.into());
    let v6 = everything(Ipv6Addr::UNSPECIFIED.into());
    let hops = [
        (v4, gateways.v4.map(IpAddr::V4)),
        (v6, gateways.v6.map(IpAddr::V6)),
    ];
    hops.into_iter()
        .filter_map(|(everything, hop)| Some((everything, hop?)))
}

/// Next hops for everything, of the families in which it has an address.
fn gateways(wanted: &Wanted) -> Gateways {
    let all = match &wanted.attachment {
        Attachment::Bridge {
            lease: Some(lease), ..
        } => lease.gateways,
        Attachment::Bridge { gateways, .. } => *gateways,
        Attachment::Routed { .. } => Gateways {
            v4: Some(Wanted::ROUTED_NEXT_HOP_V4),
            v6: Some(Wanted::ROUTED_NEXT_HOP_V6),
        },
    };
    // A default route of a family that leads nowhere makes programs wait instead of trying the other.
    let own = wanted.own_networks();
    Gateways {
        v4: all
            .v4
            .filter(|_| own.iter().any(|n| n.net().addr().is_ipv4())),
        v6: all
            .v6
            .filter(|_| own.iter().any(|n| n.net().addr().is_ipv6())),
    }
}
