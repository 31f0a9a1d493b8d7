//! What is measured: names, titles, units and what is to be reached.

use clap::ValueEnum;

/// One thing that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Figure {
    /// What the kernel takes: `unshare` with all namespaces and /bin/true.
    Floor,
    /// Start of a container until its init was executed.
    Start,
    /// The same with an interface on a bridge.
    StartBridged,
    /// The same with a routed interface.
    StartRouted,
    /// What a bridged and a routed interface together add to a start.
    StartBoth,
    /// Start of a container until it answers a ping, IPv4.
    ReplyV4,
    /// Start of a container until it answers a ping, IPv6.
    ReplyV6,
    /// An address more for a running container.
    AddressAdd,
    /// A rule more in the only firewall.
    #[value(name = "rule-1")]
    Rule,
    /// A rule more beside 199 containers with firewalls.
    #[value(name = "rule-200")]
    RuleMany,
    /// /bin/true in a container.
    Exec,
    /// Killing a container.
    Stop,
    /// A list of one container.
    List,
    /// A list of 1,000 containers.
    #[value(name = "list-1000")]
    ListMany,
    /// A container of an image that was used before.
    Create,
    /// Memory of the host's process that keeps a container.
    Memory,
    /// Memory of the daemon without containers.
    #[value(name = "daemon-0")]
    DaemonEmpty,
    /// Memory of the daemon with 1,000 containers.
    #[value(name = "daemon-1000")]
    DaemonFull,
    /// A new daemon after the old one was killed, until it has all running
    /// containers again.
    Adopt,
    /// Where the time of start, exec and stop goes.
    Phases,
}

/// Unit of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Ms,
    /// Mebibytes.
    MiB,
}

impl Unit {
    /// As it is written behind a number.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Ms => "ms",
            Self::MiB => "MiB",
        }
    }
}

impl Figure {
    /// All of them, in the order of the report.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied()
    }

    /// The name that `--only` knows.
    pub fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    /// A line of the table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Floor => "floor: unshare of all namespaces, /bin/true",
            Self::Start => "start until init has exec'd",
            Self::StartBridged => "start with a bridged interface",
            Self::StartRouted => "start with a routed interface",
            Self::StartBoth => "what a bridged and a routed interface add to a start",
            Self::ReplyV4 => "start until the first reply to a ping, IPv4",
            Self::ReplyV6 => "start until the first reply to a ping, IPv6",
            Self::AddressAdd => "netif ip add, running container",
            Self::Rule => "firewall add, 1 container with a firewall",
            Self::RuleMany => "firewall add, 200 containers with firewalls",
            Self::Exec => "exec /bin/true",
            Self::Stop => "stop --kill",
            Self::List => "list, 1 container",
            Self::ListMany => "list, 1,000 stopped containers",
            Self::Create => "create from a cached image of 2 MB",
            Self::Memory => "private memory per running container",
            Self::DaemonEmpty => "RSS of the daemon, no containers",
            Self::DaemonFull => "RSS of the daemon, 1,000 containers",
            Self::Adopt => "killed daemon: until 10 running containers are adopted",
            Self::Phases => "phases",
        }
    }

    /// Its unit.
    pub fn unit(self) -> Unit {
        match self {
            Self::Memory | Self::DaemonEmpty | Self::DaemonFull => Unit::MiB,
            _ => Unit::Ms,
        }
    }

    /// The median that is to be reached at least.
    pub fn target(self) -> Option<f64> {
        match self {
            Self::Start | Self::Stop | Self::ListMany | Self::DaemonEmpty => Some(12.0),
            // What a start may take, and 8 ms for its network.
            Self::StartBridged | Self::StartRouted => Some(20.0),
            Self::StartBoth => Some(8.0),
            Self::ReplyV4 | Self::ReplyV6 => Some(30.0),
            Self::AddressAdd | Self::Rule | Self::RuleMany => Some(5.0),
            Self::Exec => Some(4.0),
            Self::List => Some(3.0),
            Self::Create => Some(15.0),
            Self::Memory => Some(1.5),
            Self::DaemonFull => Some(40.0),
            Self::Adopt => Some(1_000.0),
            Self::Floor | Self::Phases => None,
        }
    }
}
