//! Processes of containers: `osctl ct ps` and `osctl ct pid`.

use std::cmp::Ordering;
use std::io::BufRead;

use osctl_api::container::{self, PidLookup};
use osctl_api::names::Ref;
use serde_json::Value;

use crate::commands::tables;
use crate::context::{Context, to_value};
use crate::failure::{DONE, FAILED, Failure, Outcome};
use crate::list::{ListOptions, ShowOptions, View};
use crate::order::compare;
use crate::tree::Verb;
use crate::ui::table::Kind;

/// List processes of containers
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Ps {
    /// Only these containers
    #[arg(value_name = "CTID")]
    ids: Vec<Ref>,
    /// Only processes whose parameter compares so: NAME=VALUE, or with != > < >= <=
    #[arg(short = 'p', long = "parameter", value_name = "CONDITION")]
    conditions: Vec<Condition>,
    #[command(flatten)]
    list: ListOptions,
}

impl Verb for Ps {
    fn run(self, cx: &mut Context) -> Outcome {
        let view = View::list(&tables::PROCESS, &self.list)?;
        if let Some(outcome) = view.names(cx) {
            return outcome;
        }
        let ids = self.ids.into_iter().map(|id| cx.on_pool(id)).collect();
        let pool = cx.pool.clone();
        let reply = cx.daemon.call(&container::Processes { ids, pool })?;
        let rows = reply.processes.iter().map(to_value);
        let mut rows: Vec<Value> = rows.collect::<Result<_, _>>()?;
        rows.retain(|row| self.conditions.iter().all(|c| c.holds(row)));
        view.print_list(cx, rows)
    }
}

/// A comparison of a parameter with a value.
#[derive(Debug, Clone, PartialEq)]
struct Condition {
    name: &'static str,
    operator: &'static str,
    value: Value,
}

/// Longer operators first, since they begin with the shorter ones.
const OPERATORS: [&str; 6] = ["!=", ">=", "<=", "=", ">", "<"];

impl std::str::FromStr for Condition {
    type Err = String;
    fn from_str(text: &str) -> Result<Condition, String> {
        let at = text
            .find(['!', '=', '>', '<'])
            .ok_or("use NAME=VALUE, or with != > < >= <=")?;
        let (name, rest) = text.split_at(at);
        let operator = OPERATORS.iter().find(|o| rest.starts_with(**o));
        let operator = operator.ok_or("use = != > < >= or <=")?;
        let value = &rest[operator.len()..];
        let fields = tables::PROCESS.fields;
        let field = fields.iter().find(|f| f.name == name.trim());
        let field = field.ok_or_else(|| {
            let names: Vec<&str> = fields.iter().map(|f| f.name).collect();
            format!(
                "there is no parameter {name:?}; use one of: {}",
                names.join(", ")
            )
        })?;
        let number = match field.kind {
            Kind::Text | Kind::List | Kind::State => None,
            Kind::Bytes => Some(osctl_api::size::parse(value).map_err(|e| e.to_string())?),
            _ => Some(
                value
                    .parse()
                    .map_err(|_| format!("{value:?} is not a number"))?,
            ),
        };
        Ok(Condition {
            name: field.name,
            operator,
            value: number.map_or_else(|| Value::from(value), Value::from),
        })
    }
}

impl Condition {
    fn holds(&self, row: &Value) -> bool {
        let order = match row.get(self.name) {
            Some(value) if !value.is_null() => compare(value, &self.value),
            _ => return self.operator == "!=",
        };
        match self.operator {
            "=" => order.is_eq(),
            "!=" => order.is_ne(),
            ">" => order == Ordering::Greater,
            "<" => order == Ordering::Less,
            ">=" => order.is_ge(),
            _ => order.is_le(),
        }
    }
}

/// Find the containers of host processes
#[derive(Debug, clap::Args)]
pub struct Pid {
    /// Process ids on the host, or - to read them from standard input, line by line
    #[arg(value_name = "PID", required = true)]
    pids: Vec<String>,
    /// Hide the names of parameters
    #[arg(short = 'H', long)]
    hide_header: bool,
}

impl Verb for Pid {
    fn run(self, cx: &mut Context) -> Outcome {
        if self.pids == ["-"] {
            return interactive(cx, self.hide_header);
        }
        let pids = self.pids.iter().map(|p| parse(p));
        let pids = pids.collect::<Result<Vec<u32>, Failure>>()?;
        look_up(cx, pids, self.hide_header)
    }
}

fn parse(pid: &str) -> Result<u32, Failure> {
    match pid.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(Failure::usage(format!("{pid:?} is not a process id"))),
    }
}

fn interactive(cx: &mut Context, mut hide_header: bool) -> Outcome {
    let mut status = DONE;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|e| Failure::local("cannot read standard input", &e))?;
        let pids = line.split_whitespace().map(parse);
        let pids = pids.collect::<Result<Vec<u32>, Failure>>()?;
        if !pids.is_empty() {
            status = status.max(look_up(cx, pids, hide_header)?);
            hide_header = true;
        }
    }
    Ok(status)
}

fn look_up(cx: &mut Context, pids: Vec<u32>, hide_header: bool) -> Outcome {
    let options = ShowOptions {
        hide_header,
        ..ShowOptions::default()
    };
    let view = View::show(&tables::PID, &options)?;
    let params = PidLookup { pids };
    let reply = cx.daemon.call(&params)?;
    let mut status = DONE;
    for pid in &params.pids {
        if !reply.rows.iter().any(|r| r.pid == *pid) {
            cx.ui.note(&format!("there is no process {pid}"));
            status = FAILED;
        }
    }
    let rows = reply.rows.iter().map(to_value).collect::<Result<_, _>>()?;
    view.print_list(cx, rows)?;
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_compare() {
        let row = json!({"name": "sshd", "rss": 2048, "cteuid": null, "pid": 10});
        let holds = |text: &str| text.parse::<Condition>().unwrap().holds(&row);
        for yes in [
            "name=sshd",
            "name!=cron",
            "rss>1k",
            "rss>=2k",
            "rss<=2048",
            "pid<11",
            "cteuid!=0",
        ] {
            assert!(holds(yes), "{yes}");
        }
        for no in ["name=cron", "rss>2k", "rss<2k", "pid=9", "cteuid=0"] {
            assert!(!holds(no), "{no}");
        }
        for bad in [
            "", "name", "nope=1", "pid=x", "pid=", "rss=1q", "name!x", "=1",
        ] {
            assert!(bad.parse::<Condition>().is_err(), "{bad:?} was accepted");
        }
    }
}
