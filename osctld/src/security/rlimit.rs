//! Names and values of resource limits, and setting them on a running process.

use std::{fmt, str::FromStr};

use rustix::{
    io::Errno,
    process::{Pid, Resource, prlimit},
};

/// A resource limit, by the name that administrators use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(&'static str);

/// All names, in alphabetical order.
pub const NAMES: [Name; 15] = [
    Name("as"),
    Name("core"),
    Name("cpu"),
    Name("data"),
    Name("fsize"),
    Name("memlock"),
    Name("msgqueue"),
    Name("nice"),
    Name("nofile"),
    Name("nproc"),
    Name("rss"),
    Name("rtprio"),
    Name("rttime"),
    Name("sigpending"),
    Name("stack"),
];

/// What is wrong with a limit.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No limit has this name.
    #[error("there is no resource limit {name:?}; known are {known}", name = .0, known = known())]
    Name(String),
    /// Neither a number nor `unlimited`.
    #[error("{0:?} is neither a number nor `unlimited`")]
    Value(String),
    /// The soft limit exceeds the hard one.
    #[error("soft limit {soft} of {name} exceeds hard limit {hard}")]
    Order {
        /// The limit.
        name: Name,
        /// As given.
        soft: Value,
        /// As given.
        hard: Value,
    },
    /// The kernel does not let us set it.
    #[error("cannot set limit {name} of process {pid}")]
    Kernel {
        /// The limit.
        name: Name,
        /// The process.
        pid: u32,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
}

fn known() -> String {
    NAMES.map(|n| n.0).join(" ")
}

/// The value of a limit, in its own unit (bytes, seconds, processes, …).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value(Option<u64>);

impl Value {
    /// `None` is unlimited.
    pub fn get(self) -> Option<u64> {
        self.0
    }
}

impl FromStr for Value {
    type Err = Error;
    fn from_str(text: &str) -> Result<Value, Error> {
        let invalid = || Error::Value(text.chars().take(80).collect());
        if text == "unlimited" {
            return Ok(Value(None));
        }
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        // The kernel reads the largest number as unlimited; say so or mean something else.
        match number {
            Some(u64::MAX) | None => Err(invalid()),
            some => Ok(Value(some)),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => number.fmt(f),
            None => f.pad("unlimited"),
        }
    }
}

impl FromStr for Name {
    type Err = Error;
    fn from_str(text: &str) -> Result<Name, Error> {
        let known = NAMES.into_iter().find(|n| n.0 == text);
        known.ok_or_else(|| Error::Name(text.chars().take(80).collect()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

impl Name {
    /// The name as the runtime's spec has it.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    fn resource(self) -> Resource {
        match self.0 {
            "as" => Resource::As,
            "core" => Resource::Core,
            "cpu" => Resource::Cpu,
            "data" => Resource::Data,
            "fsize" => Resource::Fsize,
            "memlock" => Resource::Memlock,
            "msgqueue" => Resource::Msgqueue,
            "nice" => Resource::Nice,
            "nofile" => Resource::Nofile,
            "nproc" => Resource::Nproc,
            "rss" => Resource::Rss,
            "rtprio" => Resource::Rtprio,
            "rttime" => Resource::Rttime,
            "sigpending" => Resource::Sigpending,
            _ => Resource::Stack,
        }
    }
}

/// A limit as it is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    name: Name,
    soft: Value,
    hard: Value,
}

impl Limit {
    /// A limit whose soft value does not exceed the hard one.
    pub fn new(name: Name, soft: Value, hard: Value) -> Result<Limit, Error> {
        let number = |v: Value| v.0.unwrap_or(u64::MAX);
        if number(soft) > number(hard) {
            return Err(Error::Order { name, soft, hard });
        }
        Ok(Limit { name, soft, hard })
    }

    /// Which limit.
    pub fn name(&self) -> Name {
        self.name
    }

    /// The value in force.
    pub fn soft(&self) -> Value {
        self.soft
    }

    /// The value up to which a process may raise it.
    pub fn hard(&self) -> Value {
        self.hard
    }

    /// Sets the limit on a running process (such as a container's init). Its later children have
    /// it too, those that exist do not.
    pub fn set_on(&self, pid: u32) -> Result<(), Error> {
        let Limit { name, soft, hard } = *self;
        let failed = |source| Error::Kernel { name, pid, source };
        let target = i32::try_from(pid).ok().and_then(Pid::from_raw);
        // Without a pid the kernel would take the daemon itself.
        let target = target.ok_or_else(|| failed(Errno::SRCH))?;
        let new = rustix::process::Rlimit {
            current: soft.0,
            maximum: hard.0,
        };
        prlimit(Some(target), name.resource(), new)
            .map(drop)
            .map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses() {
        assert_eq!("nofile".parse::<Name>().unwrap().as_str(), "nofile");
        for bad in ["", "NOFILE", "nofiles", "RLIMIT_NOFILE"] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
        assert_eq!("1024".parse::<Value>().unwrap().get(), Some(1024));
        assert_eq!("unlimited".parse::<Value>().unwrap().get(), None);
        for bad in [
            "",
            "-1",
            "+1",
            "1k",
            "infinity",
            "99999999999999999999",
            "18446744073709551615",
        ] {
            assert!(bad.parse::<Value>().is_err(), "{bad}");
        }
        let value = |text: &str| text.parse::<Value>().unwrap();
        assert!(Limit::new(NAMES[0], value("2"), value("1")).is_err());
        assert!(Limit::new(NAMES[0], value("unlimited"), value("1")).is_err());
        assert!(Limit::new(NAMES[0], value("1"), value("unlimited")).is_ok());
    }

    #[test]
    fn sets_on_a_process() {
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .unwrap();
        let name: Name = "core".parse().unwrap();
        let value = "0".parse().unwrap();
        let done = Limit::new(name, value, value).unwrap().set_on(child.id());
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        done.unwrap();
        let limits = limits.unwrap();
        let core = limits.lines().find(|l| l.starts_with("Max core")).unwrap();
        assert!(core.contains("0                    0"), "{core}");
        assert!(Limit::new(name, value, value).unwrap().set_on(0).is_err());
    }

    #[test]
    fn every_name_has_its_resource() {
        for (at, name) in NAMES.iter().enumerate() {
            assert!(
                NAMES[..at].iter().all(|n| n.resource() != name.resource()),
                "{name}"
            );
        }
    }
}
