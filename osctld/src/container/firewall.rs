//! The firewall of a container: as it is configured, and from there to what filters its interfaces.

use std::sync::Arc;

use osctl_api::firewall::{self as api, FirewallPolicy, FirewallRule, State};
use osctl_api::names::Name;
use serde::{Deserialize, Serialize};

use super::verdict::Request;
use super::{Container, blocking};
use crate::address_set::kernel_name;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::network::firewall::{Direction, Firewall, Peer, Rule, States, Verdict};
use crate::pool::Pool;

/// Most rules of a container.
const MAX_RULES: usize = 256;

/// A firewall as it is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// What becomes of packets that no rule fits.
    #[serde(default)]
    pub policy: FirewallPolicy,
    /// The first that fits a packet decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<FirewallRule>,
}

impl Config {
    /// Checks it by the rules that hold for commands.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn check(&self) -> Result<(), Error> {
        if self.rules.len() > MAX_RULES {
            return Err(Error::invalid(format!(
                "{} firewall rules are too many: at most {MAX_RULES}",
                self.rules.len()
            )));
        }
        Ok(())
    }

    /// Checks that the sets of addresses exist that it uses. Blocks.
    pub(super) fn check_sets(&self, pool: &Pool) -> Result<(), Error> {
        let mut sets = self.rules.iter().flat_map(FirewallRule::sets);
        match sets.find(|set| !pool.has_address_set(set)) {
            Some(set) => Err(Error::not_found(format!(
                "address set {}:@{set} does not exist",
                pool.name
            ))
            .hint("make it with `osctl firewall set new`")),
            None => Ok(()),
        }
    }

    /// Whether it lets everything pass.
    pub fn is_open(&self) -> bool {
        *self == Config::default()
    }

    fn compiled(&self, pool: &Name) -> Option<Firewall> {
        (!self.is_open()).then(|| Firewall {
            rules: self.rules.iter().map(|r| rule(r, pool)).collect(),
            incoming: verdict(self.policy.incoming),
            outgoing: verdict(self.policy.outgoing),
        })
    }
}

fn verdict(verdict: api::Verdict) -> Verdict {
    match verdict {
        api::Verdict::Allow => Verdict::Allow,
        api::Verdict::Deny => Verdict::Deny,
        api::Verdict::Reject => Verdict::Reject,
    }
}

fn rule(rule: &FirewallRule, pool: &Name) -> Rule {
    let peers = |all: &[api::Peer]| {
        let peer = |p: &api::Peer| match p {
            api::Peer::Network(network) => Peer::Network(*network),
            api::Peer::Set(set) => Peer::Set(kernel_name(pool, set)),
        };
        all.iter().map(peer).collect()
    };
    let ports = |all: &[api::Ports]| all.iter().map(|p| (p.first(), p.last())).collect();
    let has = |state| rule.states().contains(&state);
    Rule {
        verdict: verdict(rule.verdict()),
        direction: match rule.direction() {
            api::Direction::In => Direction::In,
            api::Direction::Out => Direction::Out,
        },
        protocol: rule.protocol().map(|p| p.0),
        from: peers(rule.from()),
        to: peers(rule.to()),
        ports: ports(rule.ports()),
        source_ports: ports(rule.source_ports()),
        states: (!rule.states().is_empty()).then(|| States {
            new: has(State::New),
            established: has(State::Established),
            related: has(State::Related),
            invalid: has(State::Invalid),
        }),
        log: rule.log(),
    }
}

impl Container {
    /// Has its firewall put before the interfaces that it has and gets. Blocks.
    ///
    /// # Errors
    /// `Backend` when it is not possible on this host; then it is as it was.
    pub(super) fn apply_firewall(&self, daemon: &Daemon, firewall: &Config) -> Result<(), Error> {
        daemon
            .network
            .set_firewall(&self.owner(), firewall.compiled(&self.pool))
    }

    /// It does not need a firewall any more: it has no interfaces either.
    pub(super) fn forget_firewall(&self, daemon: &Daemon) {
        if let Err(e) = daemon.network.set_firewall(&self.owner(), None) {
            tracing::warn!(container = %self.label(), error = %e.chain(), "its firewall is left");
        }
    }

    /// Changes its firewall, also while it runs.
    ///
    /// # Errors
    /// Those of `change`; `InvalidArgument`; `Backend` when the kernel refuses it. Then it is as it
    /// was.
    pub async fn change_firewall(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Config) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.judge(Request::Configure, "configure")?;
        let _hold = self.hold("ct firewall")?;
        let (daemon, pool) = self.home()?;
        // None of the sets that it uses goes meanwhile.
        let _sets = pool.address_sets.lock().await;
        let (before, after) = self
            .reconfigure(|config| {
                change(&mut config.firewall)?;
                config.firewall.check_sets(&pool)?;
                config.firewall.check()
            })
            .await?;
        if self.run().is_none() {
            return Ok(());
        }
        let this = Arc::clone(self);
        let applied = blocking(move || this.apply_firewall(&daemon, &after.firewall)).await;
        if applied.is_err() {
            let old = before.firewall.clone();
            let kept = self.reconfigure(|config| {
                config.firewall = old;
                Ok(())
            });
            if let Err(e) = kept.await {
                tracing::error!(container = %self.label(), error = %e.chain(), "keeps a firewall that can't be applied");
            }
        }
        applied
    }

    /// Its firewall as clients see it, with what it has counted. Blocks.
    ///
    /// # Errors
    /// `Backend` when the kernel can't be asked.
    pub fn firewall_info(&self, daemon: &Daemon) -> Result<api::Firewall, Error> {
        let firewall = self.config().firewall.clone();
        let there = self.netifs().map(|n| n.wanted).unwrap_or_default();
        let mut counts = Vec::new();
        if !firewall.is_open() {
            for wanted in &there {
                let counted = daemon.network.filters()?.counts(&wanted.host_name);
                counts.push(counted.map_err(|e| Error::backend("cannot count packets", e))?);
            }
        }
        let row = |(at, rule): (usize, FirewallRule)| {
            let of_rule = counts.iter().filter_map(|c| c.rules.get(&at));
            let known = !counts.is_empty();
            api::RuleRow {
                number: u32::try_from(at + 1).unwrap_or(u32::MAX),
                rule,
                packets: known.then(|| of_rule.clone().map(|c| c.packets).sum()),
                bytes: known.then(|| of_rule.map(|c| c.bytes).sum()),
            }
        };
        Ok(api::Firewall {
            policy: firewall.policy,
            rules: firewall.rules.into_iter().enumerate().map(row).collect(),
        })
    }
}
