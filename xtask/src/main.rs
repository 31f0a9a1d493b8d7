//! `cargo xtask TASK`: everything one does with the source tree beside
//! building it. Owns the command line; each task has a module of its own.

mod apt;
mod bench;
mod check;
mod demo;
mod docs;
mod error;
mod os;
mod process;
mod release;
mod template;
mod test;
mod ui;
mod vm;
mod workspace;

use clap::{Parser, Subcommand};

use error::Result;

/// Tasks of the workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Check formatting, rules of the source and lints.
    Check,
    /// Run the checks and all tests; needs root.
    Test(test::Args),
    /// Run a Debian container on this machine; needs root.
    Demo(demo::Args),
    /// Measure speed and memory side by side with lxc; needs root.
    Bench(bench::Args),
    /// Write the man pages of osctl to target/man.
    Man,
    /// Write completion scripts for bash, zsh and fish to target/completions.
    Completions,
    /// Build container images.
    Template(template::Args),
    /// Build and boot the host image; needs root.
    Os(os::Args),
    /// Test the host image in virtual machines; needs root.
    Vm(vm::Args),
}

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    ui::start_clock();
    match process::handle_signals().and_then(|()| run(cli.task)) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            ui::failure(&error);
            std::process::ExitCode::from(error.exit_code())
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Check => check::run(),
        Task::Test(args) => test::run(&args),
        Task::Demo(args) => demo::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Man => docs::man(),
        Task::Completions => docs::completions(),
        Task::Template(args) => template::run(&args),
        Task::Os(args) => os::run(&args),
        Task::Vm(args) => vm::run(&args),
    }
}
