//! Cgroup parameters and resource limits of containers.

use osctl_api::container::{self, Cgparam, Cgparams, Prlimit};
use osctl_api::names::Ref;
use serde_json::Value;

use crate::commands::{input, tables};
use crate::context::{Context, to_value};
use crate::failure::Outcome;
use crate::list::{ShowOptions, View};
use crate::tree::Verb;
use crate::ui::human;

/// Which version of cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Version {
    /// Version 1.
    #[value(name = "1")]
    One,
    /// Version 2.
    #[value(name = "2")]
    Two,
    /// Both.
    All,
}

/// List the cgroup parameters that were set for a container
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct CgparamsLs {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Only parameters of this version of cgroups
    #[arg(short, long, value_enum, default_value_t = Version::All)]
    version: Version,
    /// Only parameters of this controller
    #[arg(short = 'S', long)]
    subsystem: Option<String>,
    #[command(flatten)]
    show: ShowOptions,
}

impl Verb for CgparamsLs {
    fn run(self, cx: &mut Context) -> Outcome {
        let view = View::show(&tables::CGPARAM, &self.show)?;
        if let Some(outcome) = view.names(cx) {
            return outcome;
        }
        let id = cx.on_pool(self.id);
        let reply = cx.daemon.call(&container::CgparamsList { id })?;
        let shown = |p: &&Cgparam| {
            let version = match self.version {
                Version::All => true,
                Version::One => p.version == 1,
                Version::Two => p.version == 2,
            };
            version && self.subsystem.as_ref().is_none_or(|s| *s == p.subsystem)
        };
        let raw = cx.ui.json || cx.ui.parsable;
        let rows = reply.parameters.iter().filter(shown).map(|p| {
            let mut row = to_value(p)?;
            if !raw {
                row["value"] = p.value.iter().map(|v| humanise(&p.parameter, v)).collect();
            }
            Ok(row)
        });
        view.print_list(cx, rows.collect::<Result<_, _>>()?)
    }
}

/// Values of parameters that are bytes, for people.
fn humanise(parameter: &str, value: &str) -> Value {
    const BYTES: [&str; 6] = [".max", ".high", ".low", ".min", "_in_bytes", ".peak"];
    let is_bytes = parameter.starts_with("memory.") && BYTES.iter().any(|s| parameter.ends_with(s));
    match value.parse() {
        Ok(n) if is_bytes => human::bytes(n).into(),
        _ => value.into(),
    }
}

/// Set a cgroup parameter of a container, now and at every start
#[derive(Debug, clap::Args)]
pub struct CgparamsSet {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Name of the file, such as memory.high
    parameter: String,
    /// Values, written one after the other
    #[arg(required = true, allow_negative_numbers = true)]
    value: Vec<String>,
    /// Add to the values that are set, rather than replace them
    #[arg(short, long)]
    append: bool,
    /// Version of cgroups it is for; the host's unless told
    #[arg(short, long, value_parser = clap::value_parser!(u8).range(1..=2))]
    version: Option<u8>,
}

impl Verb for CgparamsSet {
    fn run(self, cx: &mut Context) -> Outcome {
        let id = cx.on_pool(self.id);
        cx.done(&container::CgparamsSet {
            id,
            parameter: self.parameter,
            value: self.value,
            version: self.version,
            append: self.append,
        })
    }
}

/// Forget a cgroup parameter of a container
#[derive(Debug, clap::Args)]
pub struct CgparamsUnset {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Name of the file
    parameter: String,
    /// Version of cgroups it is for; the host's unless told
    #[arg(short, long, value_parser = clap::value_parser!(u8).range(1..=2))]
    version: Option<u8>,
}

impl Verb for CgparamsUnset {
    fn run(self, cx: &mut Context) -> Outcome {
        let id = cx.on_pool(self.id);
        cx.done(&container::CgparamsUnset {
            id,
            parameter: self.parameter,
            version: self.version,
        })
    }
}

/// Replace all cgroup parameters of a container by those on standard input
///
/// Standard input is a JSON document:
/// {"parameters": [{"version": 2, "subsystem": "memory", "parameter": "memory.high", "value": ["1073741824"]}]}
#[derive(Debug, clap::Args)]
pub struct CgparamsReplace {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
}

impl Verb for CgparamsReplace {
    fn run(self, cx: &mut Context) -> Outcome {
        let id = cx.on_pool(self.id);
        let document: Cgparams = input::document(
            "{\"parameters\": [{\"version\", \"subsystem\", \"parameter\", \"value\": []}]}",
        )?;
        cx.done(&container::CgparamsReplace {
            id,
            parameters: document.parameters,
        })
    }
}

/// List the resource limits that were set for a container
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct PrlimitsLs {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Only these limits
    #[arg(value_name = "LIMIT")]
    limits: Vec<String>,
    #[command(flatten)]
    show: ShowOptions,
}

impl Verb for PrlimitsLs {
    fn run(self, cx: &mut Context) -> Outcome {
        View::show(&tables::PRLIMIT, &self.show)?.tell(cx, |cx| {
            let params = container::PrlimitsList {
                id: cx.on_pool(self.id),
                limits: self.limits,
            };
            Ok(cx.daemon.call(&params)?.limits)
        })
    }
}

/// Set a resource limit of a container; takes effect at the next start
#[derive(Debug, clap::Args)]
pub struct PrlimitsSet {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Name of the limit, such as nofile
    limit: String,
    /// Soft limit, and hard limit unless that is told too: a number or unlimited
    soft: String,
    /// Hard limit
    hard: Option<String>,
}

impl Verb for PrlimitsSet {
    fn run(self, cx: &mut Context) -> Outcome {
        let id = cx.on_pool(self.id);
        let hard = self.hard.unwrap_or_else(|| self.soft.clone());
        cx.done(&container::PrlimitsSet {
            id,
            limit: Prlimit {
                name: self.limit,
                soft: self.soft,
                hard,
            },
        })
    }
}

/// Forget a resource limit of a container
#[derive(Debug, clap::Args)]
pub struct PrlimitsUnset {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Name of the limit
    limit: String,
}

impl Verb for PrlimitsUnset {
    fn run(self, cx: &mut Context) -> Outcome {
        let id = cx.on_pool(self.id);
        cx.done(&container::PrlimitsUnset {
            id,
            limit: self.limit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bytes_are_humanised() {
        assert_eq!(humanise("memory.max", "1073741824"), "1.0G");
        assert_eq!(humanise("memory.max", "max"), "max");
        assert_eq!(humanise("pids.max", "1073741824"), "1073741824");
        assert_eq!(humanise("memory.limit_in_bytes", "1024"), "1.0K");
        assert_eq!(humanise("memory.swappiness", "60"), "60");
    }
}
