//! Making a pair of interfaces: one end on the host, the other in a network namespace.

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage,
};
use nix::errno::Errno;
use osctl_api::net::IfName;
use sha2::{Digest, Sha256};

use super::error::{Error, Result};
use super::link::{Host, Made, brief, made_of};
use super::message::{self, Link, named, with};
use super::netlink::{self, Batch};
use super::wanted::Wanted;

impl Host {
    /// Makes the pair, marked, both ends down. When that fails there is none.
    pub(super) fn make(
        &self,
        wanted: &Wanted,
        bridge: Option<&Link>,
        netns: BorrowedFd<'_>,
    ) -> Result<Made> {
        let name = || named(wanted.host_name.as_str());
        let step = format!("make interface {} {}", wanted.owner, wanted.name);
        let create = pair(wanted, bridge, netns);
        let mark = LinkAttribute::IfAlias(self.mark(&wanted.owner, &wanted.name));
        let settings = message::settings(self.families(wanted));
        let mut batch = Batch::new();
        batch
            .add(
                RouteNetlinkMessage::NewLink(create),
                NLM_F_CREATE | NLM_F_EXCL,
                step.clone(),
            )
            // The kernel ignores these when it makes a link.
            .add(
                RouteNetlinkMessage::SetLink(with(name(), [mark, settings])),
                0,
                format!("mark interface {}", wanted.host_name),
            )
            .add(
                RouteNetlinkMessage::GetLink(brief(name())),
                0,
                format!("look for interface {}", wanted.host_name),
            );
        let replies = match self.run(batch) {
            Ok(replies) => replies,
            Err(Error::Kernel(netlink::Error::Refused { step: s, errno, .. }))
                if s == step && errno == Errno::EEXIST =>
            {
                return Err(Error::NameInUse(format!(
                    "{} {}",
                    wanted.owner, wanted.name
                )));
            }
            Err(Error::Kernel(netlink::Error::Refused {
                step: s,
                errno,
                message,
            })) if s == step => {
                return Err(netlink::Error::Refused {
                    step,
                    errno,
                    message,
                }
                .into());
            }
            Err(e) => {
                let mut remove = Batch::new();
                remove.add(RouteNetlinkMessage::DelLink(name()), 0, "remove it");
                if let Err(second) = self.run(remove) {
                    tracing::warn!(error = %second, "an interface is left half made");
                }
                return Err(e);
            }
        };
        let made = Link::all(&replies).next().as_ref().map(made_of);
        let made = made.ok_or_else(|| Error::NoLink(wanted.host_name.to_string()))?;
        let set = made.and_then(|made| self.set_routed(wanted).map(|()| made));
        self.undo_unless(set, wanted)
    }
}

/// Both ends, for one request.
fn pair(wanted: &Wanted, bridge: Option<&Link>, netns: BorrowedFd<'_>) -> LinkMessage {
    let mut inside = with(
        named(wanted.name.as_str()),
        [
            LinkAttribute::Address(wanted.hwaddr.octets().to_vec()),
            LinkAttribute::NetNsFd(netns.as_raw_fd()),
        ],
    );
    let mut host = with(
        named(wanted.host_name.as_str()),
        [LinkAttribute::Address(
            host_hwaddr(&wanted.host_name).to_vec(),
        )],
    );
    for end in [&mut inside, &mut host] {
        end.attributes.extend([
            LinkAttribute::NumTxQueues(wanted.tx_queues),
            LinkAttribute::NumRxQueues(wanted.rx_queues),
        ]);
        let mtu = wanted.mtu.or(bridge.map(|b| b.mtu));
        end.attributes.extend(mtu.map(LinkAttribute::Mtu));
    }
    let controller = bridge.map(|b| LinkAttribute::Controller(b.index));
    host.attributes.extend(controller);
    let data = InfoData::Veth(InfoVeth::Peer(inside));
    with(
        host,
        [LinkAttribute::LinkInfo(vec![
            message::kind(InfoKind::Veth),
            LinkInfo::Data(data),
        ])],
    )
}

/// The hardware address of the host's end: always the same, so that containers need not learn it
/// again, and a high one, because a bridge takes the lowest of its ports' for its own.
fn host_hwaddr(host_name: &IfName) -> [u8; 6] {
    let hash = Sha256::digest(host_name.as_str().as_bytes());
    [0xfe, hash[0], hash[1], hash[2], hash[3], hash[4]]
}
