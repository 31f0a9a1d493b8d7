//! `osctl history`.

use osctl_api::daemon::{History, HistoryEntry};
use serde_json::{Value, json};

use super::tables;
use crate::context::{Context, to_value};
use crate::failure::{DONE, Outcome};
use crate::list::{ListOptions, View};
use crate::tree::Verb;

impl Verb for History {
    fn run(mut self, cx: &mut Context) -> Outcome {
        if self.pools.is_empty() {
            self.pools.extend(cx.pool.clone());
        }
        let reply = cx.daemon.call(&self)?;
        if cx.ui.json {
            for entry in &reply.entries {
                cx.ui.json(&to_value(entry)?)?;
            }
            return Ok(DONE);
        }
        let view = View::list(&tables::HISTORY, &ListOptions::default())?;
        view.print_list(cx, reply.entries.iter().map(row).collect())
    }
}

fn row(entry: &HistoryEntry) -> Value {
    let mut command = match &entry.cli {
        Some(cli) => cli.clone(),
        None => {
            let params = entry.params.iter().map(|(k, v)| format!(" {k}={v}"));
            format!("{}{}", entry.method, params.collect::<String>())
        }
    };
    if let Some(error) = &entry.error {
        command.push_str(&format!(" [failed: {error}]"));
    }
    json!({"time": entry.time, "pool": entry.pool, "command": command})
}
