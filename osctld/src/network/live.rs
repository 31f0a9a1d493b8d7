//! Changing the interfaces of a container while they are used: what may go through is widened before
//! it does and narrowed after, and the container's own additions stay.

use std::os::fd::BorrowedFd;

use osctl_api::net::Address;

use super::attach::{Network, Setup, failed};
use super::error as link;
use super::inside::Inside;
use super::{Attachment, Change, Route, Wanted};
use crate::error::Result;

impl Network {
    /// Takes a step from what a running container has to what it is to have.
    ///
    /// # Errors
    /// What could not be done.
    pub fn change(&self, step: &Change, netns: BorrowedFd<'_>) -> Result<()> {
        match step {
            Change::Add(new) => {
                let new = std::slice::from_ref(new);
                let attached = self
                    .prepare(new)
                    .and_then(|()| self.attach(new, Setup::Direct, netns));
                if attached.is_err() {
                    self.detach(new)
                        .inspect_err(|e| tracing::error!("{}", e.chain()))
                        .ok();
                }
                attached
            }
            Change::Remove(gone) => self.detach(std::slice::from_ref(gone)),
            Change::Rename { before, after } => self.rename(before, after, netns),
            Change::Update { before, after } => self.update(before, after, netns),
        }
    }

    fn rename(&self, before: &Wanted, after: &Wanted, netns: BorrowedFd<'_>) -> Result<()> {
        self.expect(std::slice::from_ref(after));
        self.filter(std::slice::from_ref(after))?;
        let renamed = self
            .inside(before, netns, |inside| inside.rename(&after.name))
            .and_then(|()| {
                let renamed = self.host().rename(&before.host_name, after);
                renamed.map_err(failed)
            });
        let stale = if renamed.is_ok() { before } else { after };
        self.forget(&stale.host_name);
        renamed.and(self.unfilter(std::slice::from_ref(stale)))
    }

    fn update(&self, before: &Wanted, after: &Wanted, netns: BorrowedFd<'_>) -> Result<()> {
        // What was allowed stays so until nothing uses it any more.
        self.filter(&[both(before, after)])?;
        self.host().apply(after).map_err(failed)?;
        self.inside(after, netns, |inside| reconfigure(inside, before, after))?;
        self.filter(std::slice::from_ref(after))
    }

    /// Does something to the container's end. One that the container has moved or removed is its
    /// own business.
    fn inside(
        &self,
        wanted: &Wanted,
        netns: BorrowedFd<'_>,
        work: impl FnOnce(&mut Inside) -> link::Result<()>,
    ) -> Result<()> {
        let peer = self
            .host()
            .link(wanted.host_name.as_str())
            .map_err(failed)?;
        let label = format!("{} {}", wanted.owner, wanted.name);
        let Some(index) = peer.and_then(|link| link.peer) else {
            tracing::warn!("{label} can't be configured: its link is gone");
            return Ok(());
        };
        match Inside::open(netns, index, wanted).and_then(|mut inside| work(&mut inside)) {
            Err(link::Error::Gone(_)) => {
                tracing::warn!(
                    "{label} can't be configured: its container has moved or removed it"
                );
                Ok(())
            }
            done => done.map_err(failed),
        }
    }
}

/// An interface that may do what it may before a change and what it may after it.
fn both(before: &Wanted, after: &Wanted) -> Wanted {
    let mut both = after.clone();
    for address in &before.addresses {
        if !both.addresses.contains(address) {
            both.addresses.push(*address);
        }
    }
    if let (Attachment::Routed { routes: old }, Attachment::Routed { routes }) =
        (&before.attachment, &mut both.attachment)
    {
        let gone: Vec<Route> = old
            .iter()
            .filter(|r| !routes.contains(r))
            .copied()
            .collect();
        routes.extend(gone);
    }
    both
}

/// Changes the container's end: what was there and is not wanted any more goes, the container's own
/// additions stay.
fn reconfigure(inside: &mut Inside, before: &Wanted, after: &Wanted) -> link::Result<()> {
    if before.hwaddr != after.hwaddr {
        inside.set_hwaddr(after.hwaddr)?;
    }
    if let Some(mtu) = after.mtu.filter(|_| before.mtu != after.mtu) {
        inside.set_mtu(mtu)?;
    }
    let (old, new) = (addresses(before), addresses(after));
    for address in old.iter().filter(|a| !new.contains(a)) {
        inside.remove_address(*address)?;
    }
    // With an address the kernel may have removed others of its network.
    for address in new {
        inside.add_address(address)?;
    }
    inside.change_gateways(before, after)
}

/// Addresses of the container that are known here.
fn addresses(wanted: &Wanted) -> Vec<Address> {
    let mut all = wanted.addresses.clone();
    if let Attachment::Bridge {
        lease: Some(lease), ..
    } = &wanted.attachment
    {
        all.extend([lease.v4, lease.v6]);
    }
    all
}
