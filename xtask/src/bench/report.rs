//! What a run comes to: a table for people and JSON for programs, both in
//! `target/bench/`.

use std::fs;
use std::process::Command;

use serde::Serialize;

use super::figures::{Figure, Unit};
use super::samples::{Results, Side, Summary};
use crate::error::{Error, FileContext as _, Result};
use crate::{process, ui, workspace};

/// Where it was measured.
#[derive(Debug, Serialize)]
struct Machine {
    processors: usize,
    kernel: String,
    lxc: String,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    osctl: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lxc: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reached: Option<bool>,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    machine: Machine,
    rounds: u32,
    figures: Vec<Row>,
    phases: &'a [super::phases::Phases],
}

/// Writes both and prints the table.
pub fn write(results: &Results, rounds: u32) -> Result<()> {
    let machine = Machine::find()?;
    let table = table(results, &machine, rounds);
    let report = Report {
        machine,
        rounds,
        figures: Figure::all()
            .filter_map(|figure| row(results, figure))
            .collect(),
        phases: &results.phases,
    };
    let json = serde_json::to_string_pretty(&report)
        .map_err(|error| Error::Other(format!("cannot write the report: {error}")))?;
    let directory = workspace::target().join("bench");
    fs::create_dir_all(&directory).of("create", &directory)?;
    for (name, text) in [("bench.md", &table), ("bench.json", &json)] {
        let path = directory.join(name);
        fs::write(&path, text).of("write", &path)?;
    }
    ui::say(table.trim_end());
    ui::step(format!("written to {}", directory.display()));
    Ok(())
}

impl Machine {
    fn find() -> Result<Self> {
        let release = "/proc/sys/kernel/osrelease";
        let mut command = Command::new("lxc-start");
        Ok(Self {
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: fs::read_to_string(release)
                .of("read", release)?
                .trim()
                .to_owned(),
            lxc: process::output(command.arg("--version"), "lxc-start")?
                .trim()
                .to_owned(),
        })
    }
}

fn row(results: &Results, figure: Figure) -> Option<Row> {
    let [osctl, lxc, kernel] =
        [Side::Ours, Side::Lxc, Side::Kernel].map(|side| results.summary(figure, side));
    if osctl.is_none() && kernel.is_none() {
        return None;
    }
    Some(Row {
        name: figure.name(),
        unit: figure.unit().symbol(),
        osctl,
        lxc,
        kernel,
        target: figure.target(),
        reached: osctl
            .zip(figure.target())
            .map(|(it, target)| it.median <= target),
    })
}

fn table(results: &Results, machine: &Machine, rounds: u32) -> String {
    let mut text = format!(
        "Medians (least – most) of {rounds} rounds; {} processors, Linux {}, lxc {}.\n\n\
         | | osctl | lxc | to reach | |\n|---|---|---|---|---|\n",
        machine.processors, machine.kernel, machine.lxc
    );
    for figure in Figure::all() {
        let Some(row) = row(results, figure) else {
            continue;
        };
        let unit = figure.unit();
        let cell = |summary: Option<Summary>| summary.map_or("–".to_owned(), |it| show(it, unit));
        let target = row.target.map_or(String::new(), |target| {
            format!("≤ {target} {}", unit.symbol())
        });
        let verdict = match row.reached {
            Some(true) => "reached",
            Some(false) => "**missed**",
            None => "",
        };
        let ours = cell(row.osctl.or(row.kernel));
        text += &format!(
            "| {} | {ours} | {} | {target} | {verdict} |\n",
            figure.title(),
            cell(row.lxc)
        );
    }
    for phases in &results.phases {
        text += &format!("\n| {} | ms |\n|---|---|\n", phases.command);
        for (name, summary) in &phases.phases {
            text += &format!("| {name} | {} |\n", show(*summary, Unit::Ms));
        }
    }
    text
}

/// A number per digit that means something.
fn show(summary: Summary, unit: Unit) -> String {
    let Summary {
        median,
        min,
        max,
        count,
    } = summary;
    match count {
        1 => format!("{median:.1} {}", unit.symbol()),
        _ => format!("{median:.2} ({min:.2} – {max:.2}) {}", unit.symbol()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_is_missed_is_marked() {
        let mut results = Results::default();
        for value in [11.0, 13.0, 14.0] {
            results.add(Figure::Start, Side::Ours, value);
        }
        results.add(Figure::Exec, Side::Ours, 3.5);
        results.add(Figure::Exec, Side::Lxc, 7.25);
        let machine = Machine {
            processors: 2,
            kernel: "6.18".to_owned(),
            lxc: "5.0.2".to_owned(),
        };
        let table = table(&results, &machine, 3);
        let missed = "| 13.00 (11.00 – 14.00) ms | – | ≤ 12 ms | **missed** |";
        assert!(table.contains(missed), "{table}");
        assert!(
            table.contains("| 3.5 ms | 7.2 ms | ≤ 4 ms | reached |"),
            "{table}"
        );
        assert!(!table.contains("list"), "{table}");
    }
}
