//! Network namespaces: making them, working in them, furnishing them.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use futures_util::TryStreamExt;
use nix::sched::CloneFlags;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::Wire;

/// A network namespace. It lives as long as this, a process in it, or a socket of it does.
#[derive(Debug)]
pub struct Namespace {
    fd: OwnedFd,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its alias, or nothing.
    pub alias: String,
    /// Hardware address.
    pub hwaddr: Vec<u8>,
}

impl Namespace {
    /// A new one, in which the loopback interface is up and no address is looked for duplicates.
    pub fn new() -> Namespace {
        let make = || {
            nix::sched::unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap().into()
        };
        let fd = std::thread::scope(|scope| scope.spawn(make).join().unwrap());
        let namespace = Namespace { fd };
        namespace.set_up("lo");
        namespace
    }

    /// That of a process.
    pub fn of_process(pid: u32) -> Namespace {
        let fd = File::open(format!("/proc/{pid}/ns/net")).unwrap().into();
        Namespace { fd }
    }

    /// Runs something on a thread that is in it. Programs that are started there are in it, too,
    /// and so are sockets that are opened there.
    #[track_caller]
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                nix::sched::setns(self.fd.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Runs something that speaks rtnetlink in it.
    fn ask<T, F>(&self, work: impl FnOnce(Handle) -> F + Send) -> T
    where
        T: Send,
        F: Future<Output = Result<T, rtnetlink::Error>>,
    {
        self.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build()
                .unwrap();
            runtime.block_on(async {
                let (connection, handle, _) = rtnetlink::new_connection().unwrap();
                tokio::spawn(connection);
                work(handle).await.unwrap()
            })
        })
    }

    /// A raw socket of one of its interfaces.
    #[track_caller]
    pub fn wire(&self, interface: &str) -> Wire {
        let index = self.link(interface).index;
        self.run(|| Wire::open(index))
    }

    /// Its interfaces.
    pub fn links(&self) -> Vec<Link> {
        self.ask(|handle| async move {
            let found: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
            Ok(found.into_iter().map(link).collect())
        })
    }

    /// One of its interfaces.
    #[track_caller]
    pub fn link(&self, name: &str) -> Link {
        let found = self.links().into_iter().find(|l| l.name == name);
        found.unwrap_or_else(|| panic!("there is no interface {name}"))
    }

    /// Makes a pair of interfaces, one here and one there, both up.
    pub fn pair(&self, here: &str, other: &Namespace, there: &str) {
        let index = self.ask(|handle| async move {
            let pair = LinkVeth::new(here, there).build();
            handle.link().add(pair).execute().await?;
            let links: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
            let index = links.into_iter().map(link).find(|l| l.name == there);
            Ok(index.unwrap().index)
        });
        let moved = LinkUnspec::new_with_index(index)
            .setns_by_fd(other.fd.as_raw_fd())
            .build();
        self.ask(|handle| async move { handle.link().set(moved).execute().await });
        self.set_up(here);
        other.set_up(there);
    }

    /// Makes a bridge that is up.
    pub fn bridge(&self, name: &str) {
        let bridge = LinkBridge::new(name).up().build();
        self.ask(|handle| async move { handle.link().add(bridge).execute().await });
    }

    /// Makes an interface a port of a bridge.
    pub fn enslave(&self, port: &str, bridge: &str) {
        let (port, bridge) = (self.link(port).index, self.link(bridge).index);
        let change = LinkUnspec::new_with_index(port).controller(bridge).build();
        self.ask(|handle| async move { handle.link().set(change).execute().await });
    }

    /// Lets an interface go up.
    pub fn set_up(&self, name: &str) {
        let up = LinkUnspec::new_with_name(name).up().build();
        self.ask(|handle| async move { handle.link().set(up).execute().await });
    }

    /// Removes an interface.
    pub fn remove(&self, name: &str) {
        let index = self.link(name).index;
        self.ask(|handle| async move { handle.link().del(index).execute().await });
    }

    /// Adds an address, with the length of its prefix or alone, to an interface.
    #[track_caller]
    pub fn address(&self, interface: &str, address: &str) {
        let (ip, length) = network(address);
        let index = self.link(interface).index;
        self.ask(|handle| async move {
            let mut add = handle.address().add(index, ip, length);
            if ip.is_ipv6() {
                let flags = AddressAttribute::Flags(AddressFlags::Nodad);
                add.message_mut().attributes.push(flags);
            }
            add.execute().await
        });
    }

    /// Routes everything for which there is no other route to a next hop on a link.
    pub fn default_route(&self, interface: &str, hop: &str) {
        let hop: IpAddr = hop.parse().unwrap();
        let everything = match hop {
            IpAddr::V4(_) => "0.0.0.0/0",
            IpAddr::V6(_) => "::/0",
        };
        self.route(everything, interface, Some(hop));
    }

    /// Routes a network to an interface, directly or through a next hop on it.
    pub fn route(&self, to: &str, interface: &str, hop: Option<IpAddr>) {
        let (ip, length) = network(to);
        let index = self.link(interface).index;
        let message = match (ip, hop) {
            (IpAddr::V4(ip), hop) => {
                let route = RouteMessageBuilder::<Ipv4Addr>::new()
                    .destination_prefix(ip, length)
                    .output_interface(index);
                match hop {
                    Some(IpAddr::V4(hop)) => route.gateway(hop).onlink().build(),
                    _ => route.build(),
                }
            }
            (IpAddr::V6(ip), hop) => {
                let route = RouteMessageBuilder::<Ipv6Addr>::new()
                    .destination_prefix(ip, length)
                    .output_interface(index);
                match hop {
                    Some(IpAddr::V6(hop)) => route.gateway(hop).onlink().build(),
                    _ => route.build(),
                }
            }
        };
        self.ask(|handle| async move { handle.route().add(message).execute().await });
    }

    /// Waits until packets can go through an interface, whose other end is up.
    #[track_caller]
    pub fn settle(&self, interface: &str) {
        let index = self.link(interface).index;
        crate::wait::until(&format!("{interface} runs"), || {
            // Asking for one link makes the kernel act on its carrier at once.
            let found: Vec<LinkMessage> = self.ask(|handle| async move {
                let one = handle.link().get().match_index(index);
                one.execute().try_collect().await
            });
            let running = rtnetlink::packet_route::link::LinkFlags::Running;
            found[0].header.flags.contains(running) && self.uses_its_addresses()
        });
    }

    /// Whether every IPv6 address can be used: the kernel makes that so after a moment.
    fn uses_its_addresses(&self) -> bool {
        let text = self.run(|| {
            let addresses = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap();
            let routes = std::fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap();
            (addresses, routes)
        });
        let (addresses, routes) = text;
        // The local route of an address is the last thing that is made for it.
        addresses.lines().all(|line| {
            let ip = line.split(' ').next().unwrap();
            routes.lines().any(|r| r.starts_with(&format!("{ip} 80 ")))
        })
    }
}

impl Default for Namespace {
    fn default() -> Namespace {
        Namespace::new()
    }
}

fn network(text: &str) -> (IpAddr, u8) {
    let (ip, length) = text.split_once('/').unwrap_or((text, ""));
    let ip: IpAddr = ip.parse().unwrap();
    let whole = if ip.is_ipv4() { 32 } else { 128 };
    (ip, length.parse().unwrap_or(whole))
}

fn link(message: LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        alias: String::new(),
        hwaddr: Vec::new(),
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::IfAlias(alias) => link.alias = alias,
            LinkAttribute::Address(hwaddr) => link.hwaddr = hwaddr,
            _ => {}
        }
    }
    link
}
