//! `osctl ct unset`.

use osctl_api::container::{Setting, Unset};
use osctl_api::names::{AttrName, Ref};

use crate::context::Context;
use crate::failure::Outcome;
use crate::tree::{Node, Verb, verb};

/// The tree below `osctl ct unset`.
pub const NODES: &[Node] = &[
    verb::<UnsetAutostart>(&["autostart"]),
    verb::<UnsetEphemeral>(&["ephemeral"]),
    verb::<UnsetImpermanence>(&["impermanence"]),
    verb::<UnsetHostname>(&["hostname"]),
    verb::<UnsetDnsResolver>(&["dns-resolver"]),
    verb::<UnsetInitCmd>(&["init-cmd"]),
    verb::<UnsetNesting>(&["nesting"]),
    verb::<UnsetSeccomp>(&["seccomp"]),
    verb::<UnsetCpuLimit>(&["cpu-limit"]),
    verb::<UnsetMemoryLimit>(&["memory-limit"]),
    verb::<UnsetIoLimit>(&["io-limit"]),
    verb::<UnsetQuota>(&["quota"]),
    verb::<osctl_api::snapshot::Unschedule>(&["snapshots"]),
    verb::<UnsetAttr>(&["attr"]),
];

/// Commands that return one setting to its default.
macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident => $setting:ident;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, clap::Args)]
            pub struct $name {
                /// Id of the container
                #[arg(value_name = "CTID")]
                id: Ref,
            }

            impl Verb for $name {
                fn run(self, cx: &mut Context) -> Outcome {
                    let id = cx.on_pool(self.id);
                    cx.done(&Unset {
                        id,
                        settings: vec![Setting::$setting],
                        attrs: Vec::new(),
                    })
                }
            }
        )*
    };
}

settings! {
    /// Do not start a container by itself
    UnsetAutostart => Autostart;
    /// Keep a container when it stops
    UnsetEphemeral => Ephemeral;
    /// Keep what a container changes; takes effect at the next start
    UnsetImpermanence => Impermanence;
    /// Leave the host name to the container
    UnsetHostname => Hostname;
    /// Leave the DNS resolvers to the container
    UnsetDnsResolver => DnsResolvers;
    /// Start /sbin/init as init
    UnsetInitCmd => InitCmd;
    /// Do not allow containers inside of a container; takes effect at the next start
    UnsetNesting => Nesting;
    /// Use the default seccomp profile; takes effect at the next start
    UnsetSeccomp => Seccomp;
    /// Remove the limit of processor time of a container
    UnsetCpuLimit => CpuLimit;
    /// Remove the limit of memory of a container
    UnsetMemoryLimit => MemoryLimit;
    /// Remove the limit of what a container reads and writes
    UnsetIoLimit => IoLimit;
    /// Remove the bound of what the files of a container may take
    UnsetQuota => Quota;
}

/// Remove a user attribute of a container
#[derive(Debug, clap::Args)]
pub struct UnsetAttr {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    /// Name of the attribute
    attribute: AttrName,
}

impl Verb for UnsetAttr {
    fn run(self, cx: &mut Context) -> Outcome {
        let id = cx.on_pool(self.id);
        cx.done(&Unset {
            id,
            settings: Vec::new(),
            attrs: vec![self.attribute],
        })
    }
}
