//! System call filters for guests.
//!
//! A filter is one classic BPF program: a switch by architecture, then the native rules, then
//! those of the machine's 32-bit mode. The native part is compiled by seccompiler, which knows
//! one architecture and kills all others; the switch is what keeps it from seeing those.

mod compat;
mod link;
mod native;
mod rules;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use seccompiler::{BpfProgram, sock_filter};

/// Largest profile file that is read.
const FILE_LIMIT: u64 = 256 << 10;

/// Instructions that the kernel takes in one program.
const PROGRAM_LIMIT: usize = 4096;

/// What is wrong with a profile.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither a special name nor an absolute path.
    #[error(
        "seccomp profile {0:?} is neither `default`, `compat32`, `unconfined` nor an absolute path"
    )]
    Name(String),
    /// The file could not be read.
    #[error("cannot read seccomp profile {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not a profile.
    #[error("seccomp profile {} is not valid", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: seccompiler::Error,
    },
    /// The file has no filter, or several.
    #[error("seccomp profile {} has {count} filters instead of one", path.display())]
    Count {
        /// The file.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// The program is longer than the kernel accepts.
    #[error("the seccomp program has {0} instructions, the kernel accepts 4096")]
    TooLong(usize),
    /// The built-in rules could not be compiled.
    #[error("cannot compile the default seccomp profile")]
    Default(#[source] seccompiler::BackendError),
    /// There are no rules for this machine.
    #[error("there is no seccomp profile for this machine's architecture")]
    Architecture,
}

/// Which filter a container has.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Profile {
    /// The built-in one.
    #[default]
    Default,
    /// The built-in one, for 32-bit guests whose C library opens sockets only through
    /// `socketcall(2)`, whose arguments a filter cannot see: there, families of sockets are not
    /// restricted in 32-bit mode.
    Compat32,
    /// None.
    Unconfined,
    /// From a file in seccompiler's JSON format with one filter, for the native architecture.
    /// The 32-bit mode keeps the built-in rules.
    File(PathBuf),
}

impl FromStr for Profile {
    type Err = Error;
    fn from_str(text: &str) -> Result<Profile, Error> {
        match text {
            "default" => Ok(Profile::Default),
            "compat32" => Ok(Profile::Compat32),
            "unconfined" => Ok(Profile::Unconfined),
            path if path.starts_with('/') && !path.contains('\0') => Ok(Profile::File(path.into())),
            other => Err(Error::Name(other.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Profile::Default => f.pad("default"),
            Profile::Compat32 => f.pad("compat32"),
            Profile::Unconfined => f.pad("unconfined"),
            Profile::File(path) => path.display().fmt(f),
        }
    }
}

impl Profile {
    /// The programs to install, in the form of the runtime's spec; none if unconfined. Reads the
    /// file of a profile that has one.
    pub fn programs(&self) -> Result<Vec<Vec<u64>>, Error> {
        let machine = Machine::native()?;
        let native = match self {
            Profile::Unconfined => return Ok(Vec::new()),
            Profile::Default | Profile::Compat32 => native::default(machine)?,
            Profile::File(path) => custom(path, machine)?,
        };
        let sockets = match self {
            Profile::Compat32 => compat::Socketcall::Allowed,
            _ => compat::Socketcall::Restricted,
        };
        let program = build(machine, native, sockets)?;
        Ok(vec![program.iter().map(pack).collect()])
    }
}

/// A machine that guests run on, with the modes in which its programs may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Machine {
    X86_64,
    Aarch64,
}

impl Machine {
    fn native() -> Result<Machine, Error> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Machine::X86_64),
            "aarch64" => Ok(Machine::Aarch64),
            _ => Err(Error::Architecture),
        }
    }
}

fn build(
    machine: Machine,
    native: BpfProgram,
    sockets: compat::Socketcall,
) -> Result<BpfProgram, Error> {
    let program = link::switch(machine, native, compat::program(machine, sockets));
    match program.len() {
        0..=PROGRAM_LIMIT => Ok(program),
        length => Err(Error::TooLong(length)),
    }
}

fn custom(path: &Path, machine: Machine) -> Result<BpfProgram, Error> {
    let failed = |source| Error::Read {
        path: path.into(),
        source,
    };
    let text = read(path).map_err(failed)?;
    let filters = seccompiler::compile_from_json(text.as_slice(), native::target(machine));
    let filters = filters.map_err(|source| Error::Invalid {
        path: path.into(),
        source,
    })?;
    let count = filters.len();
    let mut filters = filters.into_values();
    match (filters.next(), filters.next()) {
        (Some(program), None) => Ok(program),
        _ => Err(Error::Count {
            path: path.into(),
            count,
        }),
    }
}

/// Reads a regular file of bounded size; anything else could block or never end.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblock)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = Vec::new();
    file.take(FILE_LIMIT + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_LIMIT {
        return Err(io::Error::other("it is larger than 256 KiB"));
    }
    Ok(text)
}

fn pack(insn: &sock_filter) -> u64 {
    osctl_runtime::spec::instruction(insn.code, insn.jt, insn.jf, insn.k)
}
