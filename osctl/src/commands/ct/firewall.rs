//! `osctl ct firewall`.

use osctl_api::firewall::{Clear, FirewallRule, RuleAdd, RuleDelete, SetPolicy, Show};
use osctl_api::names::Ref;

use crate::commands::tables;
use crate::context::{Context, to_value};
use crate::failure::{Failure, Outcome};
use crate::list::{ListOptions, View};
use crate::tree::{Node, Verb, verb};

/// The tree below `osctl ct firewall`.
pub const NODES: &[Node] = &[
    verb::<Ls>(&["ls", "list"]),
    verb::<Add>(&["add"]),
    verb::<RuleDelete>(&["del", "delete"]),
    verb::<SetPolicy>(&["policy"]),
    verb::<Clear>(&["clear"]),
];

done!(
    RuleDelete { id };
    SetPolicy { id };
    Clear { id };
);

/// List the firewall rules of a container, with what they have counted
///
/// With --json the policies are shown too.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Ls {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    #[command(flatten)]
    list: ListOptions,
}

impl Verb for Ls {
    fn run(self, cx: &mut Context) -> Outcome {
        let view = View::list(&tables::FIREWALL_RULE, &self.list)?;
        if let Some(outcome) = view.names(cx) {
            return outcome;
        }
        let id = cx.on_pool(self.id);
        let reply = cx.daemon.call(&Show { id })?;
        if cx.ui.json {
            return cx.object(&reply);
        }
        let rows = reply.rules.iter().map(to_value);
        view.print_list(cx, rows.collect::<Result<_, _>>()?)
    }
}

/// Add a rule to the firewall of a container
///
/// The first rule that fits a packet decides. A rule is `allow`, `deny` or `reject`, then `in` or
/// `out`, then a protocol if any is meant, then any of `from`, `to`, `port`, `source-port`, `state`
/// with a list, and `log`: allow in tcp port 22,80-90 from 192.0.2.0/24
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Add {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Its place among the rules, from 1; the last unless told
    #[arg(short, long, value_name = "N")]
    number: Option<u32>,
    /// The rule
    #[arg(required = true)]
    rule: Vec<String>,
}

impl Verb for Add {
    fn run(self, cx: &mut Context) -> Outcome {
        let rule = self.rule.join(" ").parse::<FirewallRule>();
        cx.done(&RuleAdd {
            id: cx.on_pool(self.id),
            rule: rule.map_err(|e| Failure::usage(e.to_string()))?,
            number: self.number,
        })
    }
}
