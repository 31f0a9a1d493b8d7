//! What is remembered of the network of a container between its runs: how much went through its
//! interfaces, and which files of the guest were written for them.
//!
//! It owns the document `conf/net/<id>.json`. What the kernel counts for each link is added up over
//! all the links that an interface ever had. A link counts from zero and takes its count with
//! it; so the last that was seen of a link is kept beside the sum of those before it. Seen twice, or
//! seen again by another daemon after a crash, it counts once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use osctl_api::names::Name;
use osctl_api::net::IfName;
use osctl_api::netif::Traffic;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::network::Counters;
use crate::pool::Pool;
use crate::store::{self, Document, Stored};

/// Bytes and packets, as the container sees them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Bytes that came in.
    pub rx_bytes: u64,
    /// Packets that came in.
    pub rx_packets: u64,
    /// Bytes that went out.
    pub tx_bytes: u64,
    /// Packets that went out.
    pub tx_packets: u64,
}

impl From<Count> for Traffic {
    fn from(c: Count) -> Traffic {
        Traffic {
            rx_bytes: c.rx_bytes,
            rx_packets: c.rx_packets,
            tx_bytes: c.tx_bytes,
            tx_packets: c.tx_packets,
        }
    }
}

impl From<Counters> for Count {
    fn from(c: Counters) -> Count {
        Count {
            rx_bytes: c.rx_bytes,
            rx_packets: c.rx_packets,
            tx_bytes: c.tx_bytes,
            tx_packets: c.tx_packets,
        }
    }
}

impl Count {
    fn plus(self, other: Count) -> Count {
        Count {
            rx_bytes: self.rx_bytes.saturating_add(other.rx_bytes),
            rx_packets: self.rx_packets.saturating_add(other.rx_packets),
            tx_bytes: self.tx_bytes.saturating_add(other.tx_bytes),
            tx_packets: self.tx_packets.saturating_add(other.tx_packets),
        }
    }

    fn continues(self, before: Count) -> bool {
        self.rx_packets >= before.rx_packets && self.tx_packets >= before.tx_packets
    }
}

/// What was seen of one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Index of the host's end, which tells links apart.
    pub index: u32,
    /// What it counted.
    #[serde(flatten)]
    pub count: Count,
}

/// What went through one interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Netif {
    /// Through the links that are no more.
    #[serde(flatten)]
    before: Count,
    /// Through the latest link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<Seen>,
}

impl Netif {
    fn total(&self) -> Count {
        let link = self.link.map(|l| l.count).unwrap_or_default();
        self.before.plus(link)
    }
}

/// What is remembered of the network of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetState {
    #[serde(default)]
    netifs: BTreeMap<IfName, Netif>,
    /// Files of the guest that were written for its network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PathBuf>,
}

impl Document for NetState {
    const KIND: &'static str = "network state";
    const VERSION: u32 = 1;
}

impl NetState {
    /// Takes note of what a link has counted so far.
    pub fn note(&mut self, netif: &IfName, seen: Seen) {
        let entry = self.netifs.entry(netif.clone()).or_default();
        match entry.link {
            Some(last) if last.index == seen.index && seen.count.continues(last.count) => {}
            Some(last) => entry.before = entry.before.plus(last.count),
            None => {}
        }
        entry.link = Some(seen);
    }

    /// Everything that went through each interface.
    pub fn totals(&self) -> BTreeMap<IfName, Count> {
        let total = |(name, netif): (&IfName, &Netif)| (name.clone(), netif.total());
        self.netifs.iter().map(total).collect()
    }

    /// An interface has another name.
    pub fn rename(&mut self, old: &IfName, new: &IfName) {
        if let Some(entry) = self.netifs.remove(old) {
            self.netifs.insert(new.clone(), entry);
        }
    }

    /// Forgets interfaces that are not among these.
    pub fn retain(&mut self, there: impl Fn(&IfName) -> bool) {
        self.netifs.retain(|name, _| there(name));
    }
}

impl Pool {
    fn net_state_error(&self, id: &Name) -> impl Fn(crate::store::Error) -> Error {
        let about = format!(
            "cannot keep the network state of container {}:{id}",
            self.name
        );
        move |e| Error::store(about.clone(), e)
    }

    /// What is remembered of a container; nothing when it can't be read. Blocks.
    ///
    /// # Errors
    /// `Unavailable` while the pool does not answer: what it remembers is not lost.
    pub(super) fn load_net_state(&self, id: &Name) -> Result<Stored<NetState>> {
        let loaded = match self.conf.net.load(id.as_str()) {
            Err(e @ store::Error::Waits(_)) => return Err(self.net_state_error(id)(e)),
            loaded => loaded.unwrap_or_else(|e| {
                tracing::warn!(%id, error = %crate::error::chain(&e), "traffic is counted anew");
                None
            }),
        };
        Ok(loaded.unwrap_or_else(|| Stored::new(NetState::default())))
    }

    /// Keeps it. Blocks.
    pub(super) fn save_net_state(&self, id: &Name, state: &mut Stored<NetState>) -> Result<()> {
        let saved = self.conf.net.save(id.as_str(), state);
        saved.map_err(self.net_state_error(id))
    }

    /// It goes with its container. Blocks.
    pub(super) fn remove_net_state(&self, id: &Name) {
        let kept = &self.conf.net;
        let marked = match kept.load(id.as_str()) {
            Ok(None) => Ok(()),
            _ => kept.mark_deleting(id.as_str()),
        };
        if let Err(e) = marked.and_then(|()| kept.forget(id.as_str())) {
            let error = self.net_state_error(id)(e).chain();
            tracing::warn!(%id, %error, "cannot remove the network state of a container");
        }
    }

    /// It follows its container. Blocks.
    pub(super) fn rename_net_state(&self, old: &Name, new: &Name) {
        self.copy_net_state(old, self, new);
        self.remove_net_state(old);
    }

    /// Hands on to a container of this or another pool what is remembered of one. Blocks.
    pub(super) fn copy_net_state(&self, old: &Name, target: &Pool, new: &Name) {
        let Ok(Some(kept)) = self.conf.net.load(old.as_str()) else {
            return;
        };
        let saved = target.save_net_state(new, &mut Stored::new(kept.value));
        if let Err(e) = saved {
            tracing::warn!(%old, %new, error = %e.chain(), "traffic is counted anew");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(index: u32, n: u64) -> Seen {
        let count = Count {
            rx_bytes: n * 100,
            rx_packets: n,
            tx_bytes: n * 10,
            tx_packets: n,
        };
        Seen { index, count }
    }

    #[test]
    fn links_add_up_and_each_counts_once() {
        let eth0: IfName = "eth0".parse().unwrap();
        let mut traffic = NetState::default();
        let total = |t: &NetState, name| t.totals().remove(name).unwrap_or_default();
        traffic.note(&eth0, seen(7, 5));
        traffic.note(&eth0, seen(7, 5));
        traffic.note(&eth0, seen(7, 8));
        assert_eq!(total(&traffic, &eth0).rx_packets, 8);
        traffic.note(&eth0, seen(9, 1));
        assert_eq!(total(&traffic, &eth0).rx_packets, 9);
        // The same index after the host was booted.
        traffic.note(&eth0, seen(9, 0));
        assert_eq!(total(&traffic, &eth0).rx_bytes, 900);
        let text = serde_json::to_string(&traffic).unwrap();
        assert_eq!(serde_json::from_str::<NetState>(&text).unwrap(), traffic);
        let eth1 = "eth1".parse().unwrap();
        traffic.rename(&eth0, &eth1);
        assert_eq!(total(&traffic, &eth1).tx_bytes, 90);
        traffic.retain(|n| *n == eth0);
        assert_eq!(total(&traffic, &eth1), Count::default());
    }
}
