//! `osctl ct set`.

use osctl_api::container::{Autostart, Distribution, Set};
use osctl_api::io_limit::IoLimit;
use osctl_api::names::{AttrName, Hostname, Ref};

use crate::cli::absolute;
use crate::commands::args::{CpuLimitArgs, MemoryLimitArgs, one_line};
use crate::context::Context;
use crate::failure::Outcome;
use crate::tree::{Node, Verb, verb};

/// The tree below `osctl ct set`.
pub const NODES: &[Node] = &[
    verb::<SetAutostart>(&["autostart"]),
    verb::<SetEphemeral>(&["ephemeral"]),
    verb::<SetImpermanence>(&["impermanence"]),
    verb::<SetHostname>(&["hostname"]),
    verb::<SetDnsResolver>(&["dns-resolver"]),
    verb::<SetInitCmd>(&["init-cmd"]),
    verb::<SetNesting>(&["nesting"]),
    verb::<SetSeccomp>(&["seccomp"]),
    verb::<SetDistribution>(&["distribution"]),
    verb::<SetCpuLimit>(&["cpu-limit"]),
    verb::<SetMemoryLimit>(&["memory-limit"]),
    verb::<SetIoLimit>(&["io-limit"]),
    verb::<SetQuota>(&["quota"]),
    verb::<osctl_api::snapshot::Schedule>(&["snapshots"]),
    verb::<SetAttr>(&["attr"]),
];

fn set(cx: &mut Context, id: Ref, edit: impl FnOnce(&mut Set)) -> Outcome {
    let mut params = Set::none(cx.on_pool(id));
    edit(&mut params);
    cx.done(&params)
}

/// Start a container by itself, when its pool is imported
#[derive(Debug, clap::Args)]
pub struct SetAutostart {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Smaller starts earlier
    #[arg(short, long, value_name = "N", default_value_t = 1000)]
    priority: u32,
    /// Seconds to wait after its start before the next one, when the host is loaded
    #[arg(short, long, value_name = "SECONDS", default_value_t = 5)]
    delay: u64,
}

impl Verb for SetAutostart {
    fn run(self, cx: &mut Context) -> Outcome {
        let autostart = Autostart {
            priority: self.priority,
            delay: self.delay,
        };
        set(cx, self.id, |p| p.autostart = Some(autostart))
    }
}

/// Delete a container when it stops
///
/// It stays when it is stopped only to be restarted, reinstalled, copied, moved or exported.
#[derive(Debug, clap::Args)]
pub struct SetEphemeral {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
}

impl Verb for SetEphemeral {
    fn run(self, cx: &mut Context) -> Outcome {
        set(cx, self.id, |p| p.ephemeral = Some(true))
    }
}

/// Let each run of a container begin with the same files
///
/// It runs from a copy of its files, which takes no time on ZFS and is thrown away when it stops or
/// reboots. Its datasets are kept, and so is what `ct exec -r` changes while it is stopped. Takes
/// effect at the next start.
#[derive(Debug, clap::Args)]
pub struct SetImpermanence {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
}

impl Verb for SetImpermanence {
    fn run(self, cx: &mut Context) -> Outcome {
        set(cx, self.id, |p| p.impermanence = Some(true))
    }
}

/// Set the host name of a container
#[derive(Debug, clap::Args)]
pub struct SetHostname {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Host name, with its domain if it has one
    hostname: Hostname,
}

impl Verb for SetHostname {
    fn run(self, cx: &mut Context) -> Outcome {
        set(cx, self.id, |p| p.hostname = Some(self.hostname))
    }
}

/// Set the DNS resolvers of a container
#[derive(Debug, clap::Args)]
pub struct SetDnsResolver {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Addresses of the resolvers
    #[arg(value_name = "ADDRESS", required = true)]
    addresses: Vec<std::net::IpAddr>,
}

impl Verb for SetDnsResolver {
    fn run(self, cx: &mut Context) -> Outcome {
        set(cx, self.id, |p| p.dns_resolvers = Some(self.addresses))
    }
}

/// Set the program that is started as init
#[derive(Debug, clap::Args)]
pub struct SetInitCmd {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Program in the container, and its arguments
    #[arg(
        value_name = "PROGRAM",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<String>,
}

impl Verb for SetInitCmd {
    fn run(self, cx: &mut Context) -> Outcome {
        set(cx, self.id, |p| p.init_cmd = Some(self.command))
    }
}

/// Allow containers inside of a container; takes effect at the next start
#[derive(Debug, clap::Args)]
pub struct SetNesting {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
}

impl Verb for SetNesting {
    fn run(self, cx: &mut Context) -> Outcome {
        set(cx, self.id, |p| p.nesting = Some(true))
    }
}

/// Set the seccomp profile of a container; takes effect at the next start
#[derive(Debug, clap::Args)]
pub struct SetSeccomp {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Path of the profile on the host, or unconfined
    profile: String,
}

impl Verb for SetSeccomp {
    fn run(self, cx: &mut Context) -> Outcome {
        let profile = match self.profile.as_str() {
            "unconfined" => self.profile,
            path => absolute(path)?,
        };
        set(cx, self.id, |p| p.seccomp = Some(profile))
    }
}

/// Tell which distribution a container runs
#[derive(Debug, clap::Args)]
pub struct SetDistribution {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Distribution, such as debian
    distribution: String,
    /// Version of the distribution
    version: String,
    /// Architecture; stays as it is unless told
    arch: Option<String>,
}

impl Verb for SetDistribution {
    fn run(self, cx: &mut Context) -> Outcome {
        one_line("the distribution", &self.distribution)?;
        one_line("the version", &self.version)?;
        let distribution = Distribution {
            name: self.distribution,
            version: self.version,
            arch: self.arch,
        };
        set(cx, self.id, |p| p.distribution = Some(distribution))
    }
}

/// Limit the processor time of a container
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct SetCpuLimit {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    #[command(flatten)]
    limit: CpuLimitArgs,
}

impl Verb for SetCpuLimit {
    fn run(self, cx: &mut Context) -> Outcome {
        set(cx, self.id, |p| p.cpu_limit = Some(self.limit.into()))
    }
}

/// Limit the memory of a container
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct SetMemoryLimit {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    #[command(flatten)]
    limit: MemoryLimitArgs,
}

impl Verb for SetMemoryLimit {
    fn run(self, cx: &mut Context) -> Outcome {
        set(cx, self.id, |p| p.memory_limit = Some(self.limit.into()))
    }
}

/// Limit what a container reads from and writes to the disk of its pool, on a pool in a directory
///
/// It replaces the limit that was set before. On a pool of ZFS it is refused: nothing of the kernel
/// bounds what is done there.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct SetIoLimit {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    #[command(flatten)]
    limit: IoLimit,
}

impl Verb for SetIoLimit {
    fn run(self, cx: &mut Context) -> Outcome {
        set(cx, self.id, |p| p.io_limit = Some(self.limit))
    }
}

/// Bound what the files of a container may take, on a pool of ZFS
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct SetQuota {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Bytes, with suffix k, m, g or t for multiples of 1024
    #[arg(value_name = "SIZE", value_parser = osctl_api::size::parse)]
    quota: u64,
}

impl Verb for SetQuota {
    fn run(self, cx: &mut Context) -> Outcome {
        set(cx, self.id, |p| p.quota = Some(self.quota))
    }
}

/// Set a user attribute of a container
#[derive(Debug, clap::Args)]
pub struct SetAttr {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Name of the attribute, vendor:key
    attribute: AttrName,
    /// Value
    value: String,
}

impl Verb for SetAttr {
    fn run(self, cx: &mut Context) -> Outcome {
        set(cx, self.id, |p| {
            p.attrs.insert(self.attribute, self.value);
        })
    }
}
