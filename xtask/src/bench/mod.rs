//! `cargo xtask bench`: how fast the release programs are, side by side with
//! Debian's `lxc` in one run. Owns the order of the measurements and that each
//! of them is made in turns with its rival; what is measured is in `figures`,
//! how the two are driven in `ours` and `lxc`.

mod cgroups;
mod figures;
mod lxc;
mod memory;
mod network;
mod ours;
mod phases;
mod report;
mod samples;
mod trace;
mod vm;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, Timespec, poll};

use crate::error::{FileContext as _, Result};
use crate::process::{self, Program, Stop};
use crate::{apt, release, template, ui};
use figures::Figure;
use lxc::Lxc;
use ours::Ours;
use samples::{Results, Side};

/// Rounds before the first one that counts: they fill caches.
const WARM_UP: u32 = 2;
/// How many stopped containers a long list has.
const MANY: u32 = 1000;
/// How many running containers a new daemon has to adopt.
const ADOPTED: u32 = 10;
/// Between two measurements, so that none pays for what the one before it has
/// left to the kernel.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 30_000_000,
};

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How often each thing is measured.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Where to make the scratch directory; its file system matters to create.
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
    /// Only these measurements.
    #[arg(long, value_enum, value_delimiter = ',', num_args = 1.., value_name = "NAME")]
    only: Vec<Figure>,
    /// Containers on ZFS instead, in a virtual machine.
    #[arg(long, conflicts_with_all = ["dir", "only"])]
    vm: bool,
}

/// Something that is done to the container of a round.
#[derive(Debug, Clone, Copy)]
enum Action {
    Start,
    Exec,
    List,
    Stop,
}

/// Measures and writes the report.
pub fn run(args: &Args) -> Result<()> {
    if args.vm {
        return vm::run(args.rounds);
    }
    apt::require_root("run containers")?;
    lxc::install()?;
    apt::ensure(&[apt::BUSYBOX])?;
    let programs = release::build()?;
    let image = template::ensure("minimal")?;
    let mut bench = Bench::new(args, programs, image)?;
    bench.measure()?;
    report::write(&bench.results, args.rounds)
}

struct Bench {
    results: Results,
    wanted: BTreeSet<Figure>,
    rounds: u32,
    image: PathBuf,
    ours: Ours,
    lxc: Lxc,
    errors: Errors,
    // The last to be dropped: what the others leave is in it.
    _scratch: tempfile::TempDir,
}

impl Bench {
    fn new(args: &Args, programs: PathBuf, image: PathBuf) -> Result<Self> {
        let scratch = tempfile::Builder::new()
            .prefix("osctl-bench-")
            // The root of a guest has to come through.
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o711))
            .tempdir_in(&args.dir)
            .of("create a directory in", &args.dir)?;
        let wanted = match args.only.is_empty() {
            true => Figure::all().collect(),
            false => args.only.iter().copied().collect(),
        };
        Ok(Self {
            results: Results::default(),
            wanted,
            rounds: args.rounds,
            ours: Ours::new(programs, scratch.path())?,
            lxc: Lxc::new(scratch.path(), &image)?,
            errors: Errors::new(scratch.path())?,
            image,
            _scratch: scratch,
        })
    }

    fn measure(&mut self) -> Result<()> {
        ui::step("starting osctld");
        self.ours.start_daemon()?;
        self.ours.make_pool()?;
        if self.wants(Figure::DaemonEmpty) {
            let rss = memory::resident(self.ours.daemon_pid()?)?;
            self.results.add(Figure::DaemonEmpty, Side::Ours, rss);
        }
        let life = [
            Figure::Floor,
            Figure::Start,
            Figure::Exec,
            Figure::List,
            Figure::Stop,
            Figure::Memory,
        ];
        self.ours.create("b0", &self.image)?;
        if life.iter().any(|it| self.wants(*it)) {
            self.rounds_of("one container's life", Self::life)?;
        }
        if network::FIGURES.iter().any(|it| self.wants(*it)) {
            self.network()?;
        }
        if network::FIREWALLS.iter().any(|it| self.wants(*it)) {
            self.firewalls()?;
        }
        if self.wants(Figure::Phases) {
            ui::step("tracing the phases of start, exec and stop");
            let rounds = self.rounds;
            self.results.phases = phases::measure(&mut self.ours, rounds)?;
        }
        if self.wants(Figure::Create) {
            self.rounds_of("creation", Self::creation)?;
        }
        if self.wants(Figure::Adopt) {
            self.adoption()?;
        }
        if self.wants(Figure::ListMany) || self.wants(Figure::DaemonFull) {
            self.many()?;
        }
        Ok(())
    }

    fn wants(&self, figure: Figure) -> bool {
        self.wanted.contains(&figure)
    }

    fn rounds_of(
        &mut self,
        what: &str,
        mut round: impl FnMut(&mut Self, u32) -> Result<()>,
    ) -> Result<()> {
        ui::step(format!("measuring {what}, {} rounds", self.rounds));
        for number in 0..self.rounds + WARM_UP {
            self.results.counting = number >= WARM_UP;
            round(self, number)?;
        }
        self.results.counting = true;
        Ok(())
    }

    /// Start, exec, list and stop in turns: who is first changes.
    fn life(&mut self, round: u32) -> Result<()> {
        let mut floor = floor();
        let took = self.timed(&mut floor, "unshare")?;
        self.record(Figure::Floor, Side::Kernel, took);
        for (action, figure) in [
            (Action::Start, Figure::Start),
            (Action::Exec, Figure::Exec),
            (Action::List, Figure::List),
        ] {
            self.both(round, action, figure)?;
        }
        if self.wants(Figure::Memory) {
            for (side, pid) in [
                (Side::Ours, self.ours.supervisor("b0")?),
                (Side::Lxc, self.lxc.monitor()?),
            ] {
                let private = memory::private(pid)?;
                self.results.add(Figure::Memory, side, private);
            }
        }
        self.both(round, Action::Stop, Figure::Stop)
    }

    fn both(&mut self, round: u32, action: Action, figure: Figure) -> Result<()> {
        let turns = match round % 2 {
            0 => [Side::Ours, Side::Lxc],
            _ => [Side::Lxc, Side::Ours],
        };
        for side in turns {
            let (mut command, name) = match side {
                Side::Lxc => (self.lxc.command(action), "lxc"),
                _ => (self.ours.action(action), "osctl"),
            };
            let took = self.timed(&mut command, &format!("{name}: {action:?}"))?;
            self.record(figure, side, took);
        }
        Ok(())
    }

    /// Containers made of an image that is there already. They stay until the
    /// end: ext4 takes long to find an inode where many were freed lately.
    fn creation(&mut self, round: u32) -> Result<()> {
        let id = format!("new{round}");
        let mut command = self.ours.creation(&id, &self.image);
        let took = self.timed(&mut command, "osctl ct new")?;
        self.record(Figure::Create, Side::Ours, took);
        let mut command = self.lxc.creation(&id);
        let took = self.timed(&mut command, "lxc-create")?;
        self.record(Figure::Create, Side::Lxc, took);
        Ok(())
    }

    /// The daemon is killed; how long until the next one has them all.
    fn adoption(&mut self) -> Result<()> {
        ui::step(format!("starting {ADOPTED} containers"));
        let ids: Vec<String> = (0..ADOPTED).map(|number| format!("run{number}")).collect();
        for id in &ids {
            self.ours.create(id, &self.image)?;
            self.ours.run(&["ct", "start", id])?;
        }
        let adopted = self.rounds_of("adoption", |bench, _| {
            let took = bench.ours.replace_daemon(ids.len())?;
            bench.record(Figure::Adopt, Side::Ours, took);
            Ok(())
        });
        adopted?;
        for id in &ids {
            self.ours.run(&["ct", "del", "--force", id])?;
        }
        Ok(())
    }

    /// Lists of many containers, and what they cost the daemon.
    fn many(&mut self) -> Result<()> {
        ui::step(format!("making {MANY} containers"));
        for number in 1..MANY {
            self.ours.create_empty(&format!("many{number}"))?;
        }
        self.lxc.make_many(MANY)?;
        self.rounds_of("lists of many", |bench, _| {
            let mut command = bench.ours.action(Action::List);
            let took = bench.timed(&mut command, "osctl ct ls")?;
            bench.record(Figure::ListMany, Side::Ours, took);
            let mut command = bench.lxc.list_many();
            let took = bench.timed(&mut command, "lxc-ls")?;
            bench.record(Figure::ListMany, Side::Lxc, took);
            Ok(())
        })?;
        let rss = memory::resident(self.ours.daemon_pid()?)?;
        self.results.add(Figure::DaemonFull, Side::Ours, rss);
        Ok(())
    }

    fn record(&mut self, figure: Figure, side: Side, took: Duration) {
        self.record_ms(figure, side, took.as_secs_f64() * 1_000.0);
    }

    fn record_ms(&mut self, figure: Figure, side: Side, took: f64) {
        if self.wants(figure) {
            self.results.add(figure, side, took);
        }
    }

    /// Runs a command from its fork to its end, after a pause.
    fn timed(&self, command: &mut Command, name: &str) -> Result<Duration> {
        pause()?;
        let stderr = self.errors.stream()?;
        let command = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr);
        let start = Instant::now();
        let ended = Program::spawn(command, name, Stop::Gently)?.wait();
        let took = start.elapsed();
        ended.inspect_err(|_| self.errors.show())?;
        Ok(took)
    }
}

/// All namespaces and a program: less than that no container can be.
fn floor() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--pid", "--fork"]);
    command.args(["--net", "--ipc", "--uts", "--cgroup", "--time", "/bin/true"]);
    command
}

/// Runs a command to its end; its process id.
fn traced(command: &mut Command) -> Result<u32> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut program = Program::spawn(command, "osctl", Stop::Gently)?;
    let pid = program.child().id();
    program.wait().map(|()| pid)
}

fn pause() -> Result<()> {
    process::check_interrupted()?;
    let none: &mut [PollFd<'_>] = &mut [];
    // A signal makes it shorter and is seen right after it.
    let _ = poll(none, Some(&PAUSE));
    process::check_interrupted()
}

/// What the measured programs say on stderr: a file, because drawing on a
/// terminal takes time; shown when one of them fails.
struct Errors {
    path: PathBuf,
}

impl Errors {
    fn new(scratch: &Path) -> Result<Self> {
        let path = scratch.join("stderr");
        File::create(&path).of("create", &path)?;
        Ok(Self { path })
    }

    fn stream(&self) -> Result<File> {
        let mut options = File::options();
        let file = options.write(true).truncate(true).open(&self.path);
        file.of("open", &self.path)
    }

    fn show(&self) {
        for line in std::fs::read_to_string(&self.path)
            .unwrap_or_default()
            .lines()
        {
            ui::detail(line);
        }
    }
}
