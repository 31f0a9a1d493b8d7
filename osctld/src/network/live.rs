//! Changing the interfaces of a container while they are used: what may go through is widened before
//! it does and narrowed after, and the container's own additions stay.

use std::os::fd::BorrowedFd;

use osctl_api::net::Address;

use super::attach::{Network, Setup, failed};
use super::error as link;
use super::inside::Inside;
use super::link::label;
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
        let renamed = self.filter(std::slice::from_ref(after)).and_then(|()| {
            self.inside(before, netns, |inside| inside.rename(&after.name))?;
            let renamed = self.host().rename(&before.host_name, after);
            renamed.map_err(failed)
        });
        if renamed.is_err() {
            self.name_back(before, after, netns);
        }
        let stale = if renamed.is_ok() { before } else { after };
        self.forget(&stale.host_name);
        renamed.and(self.unfilter(std::slice::from_ref(stale)))
    }

    /// Gives an interface that could not be renamed the name back that it had, on both sides.
    fn name_back(&self, before: &Wanted, after: &Wanted, netns: BorrowedFd<'_>) {
        let back = match self.host().link(after.host_name.as_str()) {
            Ok(Some(_)) => self.host().rename(&after.host_name, before),
            found => found.map(drop),
        };
        let inside = self.inside(before, netns, |inside| inside.rename(&before.name));
        if let Err(e) = back.map_err(failed).and(inside) {
            tracing::error!("{} has half another name: {}", label(before), e.chain());
        }
    }

    fn update(&self, before: &Wanted, after: &Wanted, netns: BorrowedFd<'_>) -> Result<()> {
        // What was allowed stays so until nothing uses it any more.
        let updated = self.filter(&[both(before, after)]).and_then(|()| {
            self.host().apply(after).map_err(failed)?;
            self.reconfigure(before, after, netns);
            self.host().forget_hwaddr(before, after).map_err(failed)?;
            self.filter(std::slice::from_ref(after))
        });
        if updated.is_ok() {
            self.expect(std::slice::from_ref(after));
            return updated;
        }
        let back = self.host().apply(before).map_err(failed);
        self.reconfigure(after, before, netns);
        let back = back.and(self.host().forget_hwaddr(after, before).map_err(failed));
        if let Err(e) = back.and(self.filter(std::slice::from_ref(before))) {
            tracing::error!("{} is half changed: {}", label(before), e.chain());
        }
        updated
    }

    /// Changes the container's end. What its container does not let happen there is no reason not
    /// to change the host's side: it is told, and made good when the container starts again.
    fn reconfigure(&self, before: &Wanted, after: &Wanted, netns: BorrowedFd<'_>) {
        let done = self.inside(after, netns, |inside| reconfigure(inside, before, after));
        if let Err(e) = done {
            tracing::warn!(
                "{} is not all that it should be: {}",
                label(after),
                e.chain()
            );
        }
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
        let label = label(wanted);
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
/// additions stay. After an error the rest was tried.
fn reconfigure(inside: &mut Inside, before: &Wanted, after: &Wanted) -> link::Result<()> {
    let mut result = Ok(());
    if before.hwaddr != after.hwaddr {
        result = inside.set_hwaddr(after.hwaddr);
    }
    if let Some(mtu) = after.mtu.filter(|_| before.mtu != after.mtu) {
        result = result.and(inside.set_mtu(mtu));
    }
    let (old, new) = (addresses(before), addresses(after));
    for address in old.iter().filter(|a| !new.contains(a)) {
        result = result.and(inside.remove_address(*address));
    }
    // With an address the kernel may have removed others of its network.
    for address in new {
        result = result.and(inside.add_address(address));
    }
    result.and(inside.change_gateways(before, after))
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
