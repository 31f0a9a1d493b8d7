//! Methods of firewalls: parameters and replies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Direction, FirewallPolicy, FirewallRule, Verdict};
use crate::names::{Name, Ref};
use crate::net::Network;

/// Show the firewall of a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Show {
    /// Id of the container
    pub id: Ref,
}

/// The firewall of a container.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Firewall {
    /// What becomes of packets that no rule fits.
    pub policy: FirewallPolicy,
    /// The rules in their order: the first one that fits a packet decides.
    pub rules: Vec<RuleRow>,
}

/// A rule, and what it has counted since the container was started or its firewall was changed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RuleRow {
    /// Its place, from 1.
    pub number: u32,
    /// The rule.
    pub rule: FirewallRule,
    /// Packets that it has decided about; while the container runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// Their bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// Add a rule to the firewall of a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RuleAdd {
    /// Id of the container
    pub id: Ref,
    /// The rule
    pub rule: FirewallRule,
    /// Its place among the rules, from 1; the last when absent
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
}

/// Remove a rule from the firewall of a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct RuleDelete {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Its place among the rules, from 1
    pub number: u32,
}

/// Set what becomes of packets that no rule of a container's firewall fits
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct SetPolicy {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Which packets: to the container or from it
    #[arg(value_enum)]
    pub direction: Direction,
    /// What becomes of them
    #[arg(value_enum)]
    pub verdict: Verdict,
}

/// Remove all rules from the firewall of a container, and let everything pass
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct Clear {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
}

/// A named set of addresses.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AddressSet {
    /// Its pool.
    pub pool: Name,
    /// Its name, as rules have it behind `@`.
    pub name: Name,
    /// The addresses.
    pub addresses: Vec<Network>,
    /// Containers whose firewalls use it.
    pub used_by: Vec<Name>,
}

/// Make a named set of addresses, for rules of firewalls to use as `@NAME`
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct SetNew {
    /// Name of the set
    #[arg(value_name = "SET")]
    pub set: Ref,
    /// Addresses and networks
    #[arg(value_name = "ADDR")]
    #[serde(default)]
    pub addresses: Vec<Network>,
}

/// Delete a named set of addresses that no firewall uses
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct SetDelete {
    /// Name of the set
    #[arg(value_name = "SET")]
    pub set: Ref,
}

/// List named sets of addresses
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct SetList {
    /// Of this pool
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
}

/// Reply of `FirewallSetList`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AddressSets {
    /// The sets.
    pub sets: Vec<AddressSet>,
}

/// Show a named set of addresses
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct SetShow {
    /// Name of the set
    #[arg(value_name = "SET")]
    pub set: Ref,
}

/// Add addresses to a named set
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct SetAdd {
    /// Name of the set
    #[arg(value_name = "SET")]
    pub set: Ref,
    /// Addresses and networks
    #[arg(value_name = "ADDR", required = true)]
    pub addresses: Vec<Network>,
}

/// Remove addresses from a named set
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct SetRemove {
    /// Name of the set
    #[arg(value_name = "SET")]
    pub set: Ref,
    /// Addresses and networks
    #[arg(value_name = "ADDR", required = true)]
    pub addresses: Vec<Network>,
}
