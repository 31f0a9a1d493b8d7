//! Methods of firewalls of containers.

use std::sync::Arc;

use osctl_api::daemon::Done;
use osctl_api::firewall as api;

use super::{Context, Handle};
use crate::blocking::blocking;
use crate::container::firewall::Config;
use crate::error::{Error, Result};

impl Handle for api::Show {
    async fn handle(self, cx: &mut Context) -> Result<api::Firewall> {
        let container = cx.container(&self.id)?;
        let daemon = Arc::clone(&cx.daemon);
        blocking(move || container.firewall_info(&daemon)).await
    }
}

/// The index of rule `number`, which is one of `n`.
fn index(number: u32, n: usize) -> Result<usize> {
    let index = usize::try_from(number).ok().and_then(|n| n.checked_sub(1));
    index
        .filter(|i| *i < n)
        .ok_or_else(|| Error::not_found(format!("there is no rule {number}: the last is {n}")))
}

macro_rules! changes {
    ($($params:ty: |$me:ident, $firewall:ident| $change:expr;)*) => {
        $(impl Handle for $params {
            async fn handle(self, cx: &mut Context) -> Result<Done> {
                let container = cx.container(&self.id)?;
                let $me = self;
                container.change_firewall(|$firewall: &mut Config| $change).await?;
                Ok(Done {})
            }
        })*
    };
}

changes! {
    api::RuleAdd: |me, firewall| {
        let end = firewall.rules.len();
        let at = me.number.map_or(Ok(end), |n| index(n, end + 1))?;
        firewall.rules.insert(at, me.rule);
        Ok(())
    };
    api::RuleDelete: |me, firewall| {
        firewall.rules.remove(index(me.number, firewall.rules.len())?);
        Ok(())
    };
    api::SetPolicy: |me, firewall| {
        match me.direction {
            api::Direction::In => firewall.policy.incoming = me.verdict,
            api::Direction::Out => firewall.policy.outgoing = me.verdict,
        }
        Ok(())
    };
    api::Clear: |_me, firewall| {
        *firewall = Config::default();
        Ok(())
    };
}
