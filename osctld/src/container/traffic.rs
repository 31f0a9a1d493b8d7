//! How much went through the interfaces of a container: what the kernel counts for each link, added
//! up over all the links that an interface ever had.
//!
//! It owns the document `conf/traffic/<id>.json`. A link counts from zero and takes its count with
//! it; so the last that was seen of a link is kept beside the sum of those before it. Seen twice, or
//! seen again by another daemon after a crash, it counts once.

use std::collections::BTreeMap;

use osctl_api::names::Name;
use osctl_api::net::IfName;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::pool::Pool;
use crate::store::{Document, Stored};

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

/// What went through the interfaces of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    #[serde(default)]
    netifs: BTreeMap<IfName, Netif>,
}

impl Document for Traffic {
    const KIND: &'static str = "traffic";
    const VERSION: u32 = 1;
}

impl Traffic {
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

    /// Everything that went through an interface.
    pub fn total(&self, netif: &IfName) -> Count {
        let Some(entry) = self.netifs.get(netif) else {
            return Count::default();
        };
        let link = entry.link.map(|l| l.count).unwrap_or_default();
        entry.before.plus(link)
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
    fn traffic_error(&self, id: &Name) -> impl Fn(crate::store::Error) -> Error {
        let about = format!("cannot keep the traffic of container {}:{id}", self.name);
        move |e| Error::backend(about.clone(), e)
    }

    /// What went through the interfaces of a container; nothing when it can't be read. Blocks.
    pub(super) fn load_traffic(&self, id: &Name) -> Stored<Traffic> {
        let loaded = self.conf.traffic.load(id.as_str()).unwrap_or_else(|e| {
            tracing::warn!(%id, error = %crate::error::chain(&e), "traffic is counted anew");
            None
        });
        loaded.unwrap_or_else(|| Stored::new(Traffic::default()))
    }

    /// Keeps it. Blocks.
    pub(super) fn save_traffic(&self, id: &Name, traffic: &mut Stored<Traffic>) -> Result<()> {
        let saved = self.conf.traffic.save(id.as_str(), traffic);
        saved.map_err(self.traffic_error(id))
    }

    /// It goes with its container. Blocks.
    pub(super) fn remove_traffic(&self, id: &Name) {
        let kept = &self.conf.traffic;
        let marked = match kept.load(id.as_str()) {
            Ok(None) => Ok(()),
            _ => kept.mark_deleting(id.as_str()),
        };
        if let Err(e) = marked.and_then(|()| kept.forget(id.as_str())) {
            let error = self.traffic_error(id)(e).chain();
            tracing::warn!(%id, %error, "cannot remove what was counted of a container");
        }
    }

    /// It follows its container. Blocks.
    pub(super) fn rename_traffic(&self, old: &Name, new: &Name) {
        let Ok(Some(kept)) = self.conf.traffic.load(old.as_str()) else {
            return;
        };
        let saved = self.save_traffic(new, &mut Stored::new(kept.value));
        if let Err(e) = saved {
            tracing::warn!(%old, %new, error = %e.chain(), "traffic is counted anew");
        }
        self.remove_traffic(old);
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
        let mut traffic = Traffic::default();
        assert_eq!(traffic.total(&eth0), Count::default());
        traffic.note(&eth0, seen(7, 5));
        traffic.note(&eth0, seen(7, 5));
        traffic.note(&eth0, seen(7, 8));
        assert_eq!(traffic.total(&eth0).rx_packets, 8);
        traffic.note(&eth0, seen(9, 1));
        assert_eq!(traffic.total(&eth0).rx_packets, 9);
        // The same index after the host was booted.
        traffic.note(&eth0, seen(9, 0));
        assert_eq!(traffic.total(&eth0).rx_bytes, 900);
        let text = serde_json::to_string(&traffic).unwrap();
        assert_eq!(serde_json::from_str::<Traffic>(&text).unwrap(), traffic);
        let eth1 = "eth1".parse().unwrap();
        traffic.rename(&eth0, &eth1);
        assert_eq!(traffic.total(&eth1).tx_bytes, 90);
        traffic.retain(|n| *n == eth0);
        assert_eq!(traffic.total(&eth1), Count::default());
    }
}
