//! `osctl healthcheck`.

use std::fmt::Write;

use osctl_api::daemon::{Healthcheck, Sick};

use crate::context::{Context, to_value};
use crate::failure::{DONE, Outcome};
use crate::tree::Verb;
use crate::ui::escape;

impl Verb for Healthcheck {
    fn run(mut self, cx: &mut Context) -> Outcome {
        if self.pools.is_empty() && !self.all {
            self.pools.extend(cx.pool.clone());
        }
        let health = cx.daemon.call(&self)?;
        if cx.ui.json {
            cx.ui.json(&to_value(&health.entities)?)?;
        } else if health.entities.is_empty() {
            cx.ui.line("No errors detected.")?;
        } else {
            let text: String = health.entities.iter().map(describe).collect();
            cx.ui.raw(text.as_bytes())?;
        }
        Ok(DONE)
    }
}

fn describe(sick: &Sick) -> String {
    let pool = sick.pool.as_ref().map_or("-", |p| p.as_str());
    let id = sick.id.as_deref().unwrap_or("-");
    let mut out = format!("{} {pool} {}\n", escape::line(&sick.kind), escape::line(id));
    for asset in &sick.assets {
        let what = format!("{} {}: {}", asset.kind, asset.path, asset.errors.join("; "));
        let _ = writeln!(out, "\t{}", escape::line(&what));
    }
    for problem in &sick.problems {
        let _ = writeln!(out, "\t{}", escape::line(problem));
    }
    out
}
