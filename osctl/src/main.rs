//! The command line of osctld.

mod cli;
mod commands;
mod complete;
mod context;
mod failure;
mod list;
mod man;
mod order;
mod rows;
mod terminal;
mod tree;
mod ui;

fn main() -> std::process::ExitCode {
    if complete::requested() {
        return complete::run();
    }
    cli::run(std::env::args_os().collect()).into()
}
