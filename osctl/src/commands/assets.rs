//! What belongs to objects on the host: `assets` of the daemon, of pools and of containers.

use osctl_api::daemon::{Asset, Assets, SelfAssets};
use osctl_api::{container, pool};
use serde_json::Value;

use super::tables;
use crate::context::{Context, to_value};
use crate::failure::{DONE, Outcome};
use crate::list::{ListOptions, View};
use crate::tree::Verb;
use crate::ui::escape;
use crate::ui::table::{self, Column, Kind, Style};

/// List files, directories, sockets and cgroups of the daemon and whether they are as they should be
#[derive(Debug, clap::Args)]
pub struct OfDaemon {
    /// Tell what is wrong
    #[arg(short, long)]
    verbose: bool,
}

impl Verb for OfDaemon {
    fn run(self, cx: &mut Context) -> Outcome {
        let assets = cx.daemon.call(&SelfAssets {})?;
        print(cx, &assets, self.verbose)
    }
}

/// List what belongs to a pool and whether it is as it should be
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct OfPool {
    #[command(flatten)]
    params: pool::Assets,
    /// Tell what is wrong
    #[arg(short, long)]
    verbose: bool,
}

impl Verb for OfPool {
    fn run(self, cx: &mut Context) -> Outcome {
        let assets = cx.daemon.call(&self.params)?;
        print(cx, &assets, self.verbose)
    }
}

/// List what belongs to a container on the host and whether it is as it should be
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct OfContainer {
    #[command(flatten)]
    params: container::Assets,
    /// Tell what is wrong
    #[arg(short, long)]
    verbose: bool,
}

impl Verb for OfContainer {
    fn run(mut self, cx: &mut Context) -> Outcome {
        self.params.id = cx.on_pool(self.params.id);
        let assets = cx.daemon.call(&self.params)?;
        print(cx, &assets, self.verbose)
    }
}

fn print(cx: &Context, reply: &Assets, verbose: bool) -> Outcome {
    let assets = &reply.assets;
    let rows: Vec<Value> = assets.iter().map(to_value).collect::<Result<_, _>>()?;
    if cx.ui.json || !verbose {
        let view = View::list(&tables::ASSET, &ListOptions::default())?;
        return view.print_list(cx, rows);
    }
    let columns: Vec<Column> = tables::ASSET
        .default
        .iter()
        .map(|name| Column {
            name: (*name).to_owned(),
            kind: Kind::Text,
        })
        .collect();
    let style = Style {
        parsable: cx.ui.parsable,
        header: true,
        colour: false,
    };
    let text = table::columns(&columns, &rows, style);
    cx.ui.raw(with_errors(&text, assets).as_bytes())?;
    Ok(DONE)
}

fn with_errors(text: &str, assets: &[Asset]) -> String {
    let mut lines = text.lines();
    let mut out = String::new();
    out.extend(lines.next().map(|header| format!("{header}\n")));
    for (line, asset) in lines.zip(assets) {
        out.push_str(&format!("{line}\n"));
        for error in &asset.errors {
            out.push_str(&format!("\t{}\n", escape::line(error)));
        }
    }
    out
}
