//! Progress of long operations: one updating line on a terminal, else a line for each step.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use osctl_api::Progress;

use super::{Stream, escape};

enum Mode {
    Silent,
    Lines { last: String },
    Bar { bar: Option<ProgressBar> },
}

/// Shows how far an operation has come, until it is dropped.
pub struct ProgressView {
    mode: Mode,
}

impl ProgressView {
    pub(super) fn new(silent: bool) -> ProgressView {
        let mode = if silent {
            Mode::Silent
        } else if Stream::Err.is_tty() {
            Mode::Bar { bar: None }
        } else {
            Mode::Lines {
                last: String::new(),
            }
        };
        ProgressView { mode }
    }

    /// Shows one step.
    pub fn step(&mut self, progress: &Progress) {
        let message = escape::line(&progress.message);
        match &mut self.mode {
            Mode::Silent => {}
            Mode::Lines { last } => {
                if *last != message {
                    // nothing is lost when nobody reads progress
                    let _ = Stream::Err.write_all(format!("{message}\n").as_bytes());
                    *last = message.into_owned();
                }
            }
            Mode::Bar { bar } => {
                let bar = bar.get_or_insert_with(spinner);
                bar.set_message(message.into_owned());
                match (progress.done, progress.total) {
                    (Some(done), Some(total)) => {
                        if bar.length() != Some(total) {
                            bar.set_length(total);
                            bar.set_style(style(
                                "{msg} [{bar:30}] {bytes}/{total_bytes}, {eta} left",
                            ));
                        }
                        bar.set_position(done);
                    }
                    (Some(done), None) => {
                        bar.unset_length();
                        bar.set_style(style("{spinner} {msg} {bytes}"));
                        bar.set_position(done);
                    }
                    _ => {
                        bar.unset_length();
                        bar.set_style(style("{spinner} {msg}"));
                    }
                }
            }
        }
    }
}

impl Drop for ProgressView {
    fn drop(&mut self) {
        if let Mode::Bar { bar: Some(bar) } = &self.mode {
            bar.finish_and_clear();
        }
    }
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(style("{spinner} {msg}"));
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
