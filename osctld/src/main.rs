//! The container daemon: arguments and the runtime it runs on.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use osctld::config::{Config, Overrides};

/// Runs containers on this host and serves osctl
#[derive(Debug, Parser)]
#[command(name = "osctld", version)]
struct Arguments {
    /// Directory of the socket and of what does not outlive a boot [default: /run/osctl]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Configuration file [default: /etc/osctl/osctld.toml, unless --run-dir is given]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What to log: error, warn, info, debug, trace, or a filter such as osctld::pool=debug
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let run = || {
        let config = Config::load(&Overrides {
            run_dir: arguments.run_dir,
            file: arguments.config,
            log: arguments.log,
        })?;
        osctld::daemon::run(config)
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("osctld: {}", e.chain());
            ExitCode::FAILURE
        }
    }
}
