//! The host's side of the interfaces of containers: veth pairs, ports of bridges, addresses and
//! routes of routed ones.
//!
//! An interface is found by its name on the host, and known for ours by the mark in its alias. What
//! is inside of the container is in `inside`.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use nix::errno::Errno;
use osctl_api::net::IfName;

use super::error::{Error, Result};
use super::message::{self, Link, indexed, named, with};
use super::netlink::{Batch, Reply, Socket};
use super::notices::Notices;
use super::setting;
use super::settle::State;
use super::shaping;
use super::wanted::{self, Attachment, Owner, Wanted};

/// The host's network, for the interfaces of one daemon. All of it blocks, and has to be called on
/// threads of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Host {
    root: String,
    pub(super) ipv6: bool,
    socket: Mutex<Socket>,
    pub(super) shaper: std::sync::OnceLock<shaping::Shaper>,
}

/// Both ends of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// Index of the host's end.
    pub host_index: u32,
    /// Index of the container's end, in the namespace where that is.
    pub inside_index: u32,
}

/// What [`Host::ensure`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// It was there.
    Kept(Made),
    /// It was not: the container's end is new and has to be configured.
    Created(Made),
}

/// An interface with our mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ours {
    /// Name of the host's end.
    pub host_name: IfName,
    /// Whose it is.
    pub owner: Owner,
    /// Name in the container when it was made or renamed.
    pub netif: IfName,
    /// Index of the host's end; `None` when only what shapes its traffic is left.
    pub index: Option<u32>,
}

impl Host {
    /// The network of the calling thread's namespace; `root` is the name of the daemon's cgroup,
    /// which tells its interfaces from those of other daemons.
    ///
    /// # Errors
    /// Those of opening a netlink socket.
    pub fn open(root: &str) -> Result<Host> {
        Ok(Host {
            root: root.to_owned(),
            ipv6: setting::has_ipv6(),
            socket: Mutex::new(Socket::open()?),
            shaper: std::sync::OnceLock::new(),
        })
    }

    /// Makes the pair, its one end in a network namespace, both ends down. What is left of an
    /// earlier one is removed first.
    ///
    /// # Errors
    /// [`Error::Foreign`], [`Error::NoBridge`], [`Error::NotABridge`], [`Error::NameInUse`], or
    /// what the kernel refuses; then there is no pair.
    pub fn create(&self, wanted: &Wanted, netns: BorrowedFd<'_>) -> Result<Made> {
        let (found, bridge) = self.look(wanted)?;
        if found.is_some() {
            self.delete(&wanted.host_name)?;
        }
        self.make(wanted, bridge.as_ref(), netns)
    }

    /// Limits the rates of a pair that was made, lets its host's end go up, and gives it addresses
    /// and routes. When the container's end goes up later, see [`Host::running`].
    ///
    /// # Errors
    /// [`Error::NoLink`], or what the kernel refuses.
    pub fn raise(&self, wanted: &Wanted) -> Result<()> {
        let link = self.link_or_error(&wanted.host_name)?;
        self.shape(wanted, &link, shaping::Before::Nothing)?;
        let next_hop = self.next_hop_v6(wanted);
        let notices = next_hop.map(|_| Notices::of_addresses()).transpose()?;
        let mut batch = Batch::new();
        let state = State::default();
        self.differences(wanted, &link, link.controller, &state, &mut batch);
        match (self.run(batch), notices) {
            // It had some of it already.
            (Err(Error::Kernel(e)), _) if e.errno() == Some(Errno::EEXIST) => self.apply(wanted)?,
            (result, None) => drop(result?),
            // Or the container's first packets would find nobody.
            (result, Some(notices)) => {
                result?;
                notices.until_used(link.index, next_hop.into_iter().collect())?;
            }
        }
        self.notice_peer(&link)
    }

    /// Has the kernel notice that the container's end can send now, if that was up already; see
    /// [`Host::running`].
    pub(super) fn notice_peer(&self, link: &Link) -> Result<()> {
        let (Some(peer), Some(namespace)) = (link.peer, link.peer_namespace) else {
            return Ok(());
        };
        let there = LinkAttribute::IfNetnsId(namespace);
        let mut batch = Batch::new();
        batch.add_tolerating(
            RouteNetlinkMessage::GetLink(with(brief(indexed(peer)), [there])),
            0,
            // It was moved or removed meanwhile.
            &[Errno::ENODEV, Errno::EINVAL],
            format!("look for the other end of {}", link.name),
        );
        // A bridge whose first port this is sends nothing before it has noticed it; and it does so
        // in the order of events, after the port.
        for index in [Some(link.index), link.controller].into_iter().flatten() {
            batch.add_tolerating(
                RouteNetlinkMessage::GetLink(brief(indexed(index))),
                0,
                &[Errno::ENODEV],
                format!("look whether {} can send", link.name),
            );
        }
        self.run(batch).map(drop)
    }

    /// Makes everything of the host's side as it is wanted, changing only what differs: makes the
    /// pair when it is not there, and lets the host's end go up.
    ///
    /// # Errors
    /// As of [`Host::create`] and [`Host::raise`].
    pub fn ensure(&self, wanted: &Wanted, netns: BorrowedFd<'_>) -> Result<Ensured> {
        let (found, bridge) = self.look(wanted)?;
        let Some(link) = found else {
            let made = self.make(wanted, bridge.as_ref(), netns)?;
            let raised = self.raise(wanted);
            return self
                .undo_unless(raised, wanted)
                .map(|()| Ensured::Created(made));
        };
        self.settle(wanted, &link, bridge.as_ref())?;
        Ok(Ensured::Kept(made_of(&link)?))
    }

    /// Makes everything of the host's side as it is wanted, of an interface that is there: largest
    /// packet, bridge, routes, rates. Nothing is interrupted that does not differ.
    ///
    /// # Errors
    /// [`Error::NoLink`], or what the kernel refuses.
    pub fn apply(&self, wanted: &Wanted) -> Result<()> {
        let (found, bridge) = self.look(wanted)?;
        let link = found.ok_or_else(|| Error::NoLink(wanted.host_name.to_string()))?;
        self.settle(wanted, &link, bridge.as_ref())
    }

    /// Whether both ends of an interface are up. To be asked for once they should be: then the
    /// kernel (from 6.8 on) lets packets through at once, rather than after a moment in which the
    /// first ones would be lost.
    ///
    /// # Errors
    /// [`Error::NoLink`], or those of asking the kernel.
    pub fn running(&self, host_name: &IfName) -> Result<bool> {
        Ok(self.link_or_error(host_name)?.running)
    }

    /// Removes an interface, and with it the container's end. Says whether there was one.
    ///
    /// # Errors
    /// [`Error::Foreign`], or what the kernel refuses.
    pub fn delete(&self, host_name: &IfName) -> Result<bool> {
        let names = [host_name.clone(), shaping::ifb_name(host_name)];
        let mut ask = Batch::new();
        for name in &names {
            ask.add_tolerating(
                RouteNetlinkMessage::GetLink(brief(named(name.as_str()))),
                0,
                &[Errno::ENODEV],
                format!("look for interface {name}"),
            );
        }
        let replies = self.run(ask)?;
        let all: Vec<Link> = Link::all(&replies).collect();
        for link in &all {
            self.check_mark(link)?;
        }
        remove(&all)?;
        Ok(all.iter().any(|link| link.name == host_name.as_str()))
    }

    /// Gives an interface that is there another name in the container and on the host: `old` is
    /// its name on the host, `wanted` has the new ones. What goes through it is interrupted only
    /// where the kernel cannot rename an interface that is up (before 6.2).
    ///
    /// # Errors
    /// [`Error::NoLink`], [`Error::Foreign`], or what the kernel refuses.
    pub fn rename(&self, old: &IfName, wanted: &Wanted) -> Result<()> {
        let link = self.link_or_error(old)?;
        self.check_mark(&link)?;
        let mark = LinkAttribute::IfAlias(self.mark(&wanted.owner, &wanted.name));
        let mut links = vec![(link, wanted.host_name.clone())];
        if let Some(ifb) = self.link_with(named(shaping::ifb_name(old).as_str()))? {
            links.push((ifb, shaping::ifb_name(&wanted.host_name)));
        }
        for (link, name) in links {
            let step = format!("rename interface {} to {name}", link.name);
            let new = || {
                let name = LinkAttribute::IfName(name.to_string());
                with(indexed(link.index), [name, mark.clone()])
            };
            let mut batch = Batch::new();
            batch.add(RouteNetlinkMessage::SetLink(new()), 0, step.clone());
            let renamed = match self.run(batch) {
                Err(Error::Kernel(e)) if e.errno() == Some(Errno::EBUSY) => {
                    let mut batch = Batch::new();
                    for set in [
                        message::down(indexed(link.index)),
                        new(),
                        message::up(indexed(link.index)),
                    ] {
                        batch.add(RouteNetlinkMessage::SetLink(set), 0, step.clone());
                    }
                    self.run(batch)
                }
                result => result,
            };
            renamed?;
        }
        self.apply(wanted)
    }

    /// All interfaces with our mark.
    ///
    /// # Errors
    /// Those of asking the kernel.
    pub fn list_ours(&self) -> Result<Vec<Ours>> {
        let all = brief(LinkMessage::default());
        let replies = self.dump(RouteNetlinkMessage::GetLink(all), "list links")?;
        let mut ours = BTreeMap::new();
        for link in Link::all(&replies) {
            let Some((owner, netif)) = self.mark_of(&link) else {
                continue;
            };
            let host_name = wanted::host_name(&self.root, &owner, &netif);
            let is_pair = link.kind.as_deref() == Some("veth");
            let entry = ours.entry(host_name.to_string()).or_insert(Ours {
                host_name,
                owner,
                netif,
                index: None,
            });
            if is_pair {
                entry.index = Some(link.index);
            }
        }
        Ok(ours.into_values().collect())
    }

    /// A link of the host, by name; `None` when there is no such link.
    ///
    /// # Errors
    /// Those of asking the kernel.
    pub fn link(&self, name: &str) -> Result<Option<Link>> {
        self.link_with(brief(named(name)))
    }

    /// Has requests carried out in the host's namespace.
    ///
    /// # Errors
    /// That of the first that fails.
    pub fn run(&self, batch: Batch) -> Result<Vec<Reply>> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.lock().run(batch)?)
    }

    /// A list of the host's namespace.
    ///
    /// # Errors
    /// Those of asking the kernel.
    pub fn dump(&self, payload: RouteNetlinkMessage, step: &str) -> Result<Vec<Reply>> {
        Ok(self.lock().dump(payload, step)?)
    }

    /// The mark that says whose an interface is.
    pub fn mark(&self, owner: &Owner, netif: &IfName) -> String {
        format!("osctl/{}/{owner}/{netif}", self.root)
    }

    /// Whose a link is, and its name in the container, if it has our mark.
    pub(super) fn mark_of(&self, link: &Link) -> Option<(Owner, IfName)> {
        parse_mark(&self.root, link.alias.as_deref()?)
    }

    pub(super) fn link_with(&self, ask: LinkMessage) -> Result<Option<Link>> {
        let mut batch = Batch::new();
        batch.add_tolerating(
            RouteNetlinkMessage::GetLink(ask),
            0,
            &[Errno::ENODEV],
            "look for an interface",
        );
        Ok(Link::all(&self.run(batch)?).next())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Socket> {
        self.socket.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn link_or_error(&self, name: &IfName) -> Result<Link> {
        self.link(name.as_str())?
            .ok_or_else(|| Error::NoLink(name.to_string()))
    }

    pub(super) fn check_mark(&self, link: &Link) -> Result<()> {
        match self.mark_of(link) {
            Some(_) => Ok(()),
            None => Err(Error::Foreign(link.name.clone())),
        }
    }

    /// The host's end, which is ours, and the bridge.
    fn look(&self, wanted: &Wanted) -> Result<(Option<Link>, Option<Link>)> {
        let host_name = wanted.host_name.as_str();
        let bridge = match &wanted.attachment {
            Attachment::Bridge { link, .. } => Some(link.as_str()),
            Attachment::Routed { .. } => None,
        };
        let mut ask = Batch::new();
        for name in [Some(host_name), bridge].into_iter().flatten() {
            ask.add_tolerating(
                RouteNetlinkMessage::GetLink(brief(named(name))),
                0,
                &[Errno::ENODEV],
                format!("look for interface {name}"),
            );
        }
        let replies = self.run(ask)?;
        let find = |name: &str| Link::all(&replies).find(|l| l.name == name);
        let found = find(host_name);
        if let Some(found) = &found {
            self.check_mark(found)?;
        }
        let Some(bridge) = bridge else {
            return Ok((found, None));
        };
        let controller = find(bridge).ok_or_else(|| Error::NoBridge(bridge.to_owned()))?;
        if controller.kind.as_deref() != Some("bridge") {
            return Err(Error::NotABridge(bridge.to_owned()));
        }
        Ok((found, Some(controller)))
    }

    pub(super) fn undo_unless<T>(&self, result: Result<T>, wanted: &Wanted) -> Result<T> {
        if result.is_err()
            && let Err(second) = self.delete(&wanted.host_name)
        {
            tracing::warn!(error = %second, "an interface is left half made");
        }
        result
    }
}

/// Removes links. For each of them the kernel waits until nobody uses it any more, tens of
/// milliseconds: that is done at the same time, and keeps nobody else from speaking to the kernel.
fn remove(links: &[Link]) -> Result<()> {
    let remove = |link: &Link| {
        let mut batch = Batch::new();
        batch.add_tolerating(
            RouteNetlinkMessage::DelLink(indexed(link.index)),
            0,
            &[Errno::ENODEV],
            format!("remove interface {}", link.name),
        );
        Socket::open()?.run(batch).map(drop)
    };
    let Some((first, others)) = links.split_first() else {
        return Ok(());
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = others
            .iter()
            .map(|link| scope.spawn(move || remove(link)))
            .collect();
        let mut result = remove(first);
        for other in others {
            result = result.and(
                other
                    .join()
                    .unwrap_or_else(|p| std::panic::resume_unwind(p)),
            );
        }
        Ok(result?)
    })
}

/// An interface in messages: `tank:web1 eth0`.
pub(super) fn label(wanted: &Wanted) -> String {
    format!("{} {}", wanted.owner, wanted.name)
}

pub(super) fn brief(link: LinkMessage) -> LinkMessage {
    with(link, [message::without_counters()])
}

pub(super) fn made_of(link: &Link) -> Result<Made> {
    let inside_index = link.peer.ok_or_else(|| Error::NoLink(link.name.clone()))?;
    Ok(Made {
        host_index: link.index,
        inside_index,
    })
}

/// Whose an interface with this alias is.
pub(super) fn parse_mark(root: &str, alias: &str) -> Option<(Owner, IfName)> {
    let rest = alias.strip_prefix("osctl/")?.strip_prefix(root)?;
    let (owner, netif) = rest.strip_prefix('/')?.rsplit_once('/')?;
    let (pool, container) = owner.split_once(':')?;
    let owner = Owner {
        pool: pool.to_owned(),
        container: container.to_owned(),
    };
    Some((owner, netif.parse().ok()?))
}
