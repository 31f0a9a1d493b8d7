//! From the interfaces that a running container has to those that it is to have: pure.

use super::Wanted;

/// A step. Steps are taken in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The interface goes.
    Remove(Wanted),
    /// It gets another name, here and in the container; nothing else of it changes.
    Rename {
        /// As it is.
        before: Wanted,
        /// As it is to be.
        after: Wanted,
    },
    /// Anything else changes that a link can change while it is used.
    Update {
        /// As it is.
        before: Wanted,
        /// As it is to be.
        after: Wanted,
    },
    /// A new interface.
    Add(Wanted),
}

impl Change {
    /// The interface as it is, if it is there.
    pub fn before(&self) -> Option<&Wanted> {
        match self {
            Change::Remove(before)
            | Change::Rename { before, .. }
            | Change::Update { before, .. } => Some(before),
            Change::Add(_) => None,
        }
    }

    /// The interface as it is to be, unless it goes.
    pub fn after(&self) -> Option<&Wanted> {
        match self {
            Change::Add(after) | Change::Rename { after, .. } | Change::Update { after, .. } => {
                Some(after)
            }
            Change::Remove(_) => None,
        }
    }
}

/// The steps from `before` to `after`. An interface that is in both by its name is changed; one
/// that is not is taken for renamed when another has its hardware address.
pub fn changes(before: &[Wanted], after: &[Wanted]) -> Vec<Change> {
    let mut removals = Vec::new();
    let mut renames = Vec::new();
    let mut updates = Vec::new();
    let mut additions = Vec::new();
    let mut renamed: Vec<&Wanted> = Vec::new();
    for old in before {
        let same_name = after.iter().find(|a| a.name == old.name);
        let is_new = |a: &&Wanted| !before.iter().any(|b| b.name == a.name);
        let same_link = || {
            let heir = |a: &&Wanted| a.hwaddr == old.hwaddr && is_new(a);
            after.iter().find(heir)
        };
        let Some(new) = same_name.or_else(same_link) else {
            removals.push(Change::Remove(old.clone()));
            continue;
        };
        if needs_another_link(old, new) {
            removals.push(Change::Remove(old.clone()));
            additions.push(Change::Add(new.clone()));
            renamed.push(new);
            continue;
        }
        let mut now = old.clone();
        if old.name != new.name {
            now.name = new.name.clone();
            now.host_name = new.host_name.clone();
            renames.push(Change::Rename {
                before: old.clone(),
                after: now.clone(),
            });
            renamed.push(new);
        }
        if now != *new {
            updates.push(Change::Update {
                before: now,
                after: new.clone(),
            });
        }
    }
    for new in after {
        let was_there = before.iter().any(|b| b.name == new.name);
        if !was_there && !renamed.iter().any(|r| r.name == new.name) {
            additions.push(Change::Add(new.clone()));
        }
    }
    [removals, renames, updates, additions].concat()
}

/// Whether it takes a new link: queues are given when one is made, and a port of a bridge is made
/// otherwise than a routed link.
fn needs_another_link(old: &Wanted, new: &Wanted) -> bool {
    use super::Attachment::{Bridge, Routed};
    let queues = |w: &Wanted| (w.tx_queues, w.rx_queues);
    let same_kind = matches!(
        (&old.attachment, &new.attachment),
        (Bridge { .. }, Bridge { .. }) | (Routed { .. }, Routed { .. })
    );
    queues(old) != queues(new) || !same_kind
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Attachment, Owner, host_name};
    use osctl_api::net::{HwAddr, Rate};

    fn netif(name: &str, last: u8) -> Wanted {
        let owner = Owner {
            pool: "tank".into(),
            container: "web1".into(),
        };
        let name = name.parse().unwrap();
        Wanted {
            host_name: host_name("osctl", &owner, &name),
            owner,
            name,
            hwaddr: HwAddr::from_octets([2, 0, 0, 0, 0, last]).unwrap(),
            attachment: Attachment::Routed { routes: Vec::new() },
            addresses: Vec::new(),
            mtu: None,
            tx_queues: 1,
            rx_queues: 1,
            max_tx: Rate::default(),
            max_rx: Rate::default(),
            anti_spoof: true,
        }
    }

    fn words(changes: &[Change]) -> Vec<String> {
        let word = |c: &Change| match c {
            Change::Remove(w) => format!("-{}", w.name),
            Change::Rename { before, after } => format!("{}>{}", before.name, after.name),
            Change::Update { before, after } => {
                assert_eq!(before.name, after.name);
                assert_eq!(before.host_name, after.host_name);
                format!("~{}", after.name)
            }
            Change::Add(w) => format!("+{}", w.name),
        };
        changes.iter().map(word).collect()
    }

    #[test]
    fn what_is_the_same_is_left_alone() {
        let both = [netif("eth0", 1), netif("eth1", 2)];
        assert_eq!(changes(&both, &both), []);
    }

    #[test]
    fn interfaces_come_and_go() {
        let before = [netif("eth0", 1), netif("eth1", 2)];
        let after = [netif("eth1", 2), netif("eth2", 3)];
        assert_eq!(words(&changes(&before, &after)), ["-eth0", "+eth2"]);
    }

    #[test]
    fn a_new_name_and_new_settings_are_two_steps() {
        let mut after = netif("wan", 1);
        let before = [netif("eth0", 1)];
        assert_eq!(words(&changes(&before, &[after.clone()])), ["eth0>wan"]);
        after.mtu = Some(1400);
        assert_eq!(words(&changes(&before, &[after])), ["eth0>wan", "~wan"]);
        // Deleted and made anew under one name: the same link, changed.
        assert_eq!(words(&changes(&before, &[netif("eth0", 9)])), ["~eth0"]);
    }

    #[test]
    fn queues_take_another_link() {
        let mut after = netif("eth0", 1);
        after.tx_queues = 4;
        assert_eq!(
            words(&changes(&[netif("eth0", 1)], &[after])),
            ["-eth0", "+eth0"]
        );
    }
}
