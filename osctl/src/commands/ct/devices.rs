//! `osctl ct devices`.

use osctl_api::container::{self, Device, DeviceKind};
use osctl_api::names::Ref;
use serde::Deserialize;

use crate::commands::{input, tables};
use crate::context::Context;
use crate::failure::Outcome;
use crate::list::{ShowOptions, View};
use crate::tree::Verb;

/// List the devices that a container may use
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Ls {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
    #[command(flatten)]
    show: ShowOptions,
}

impl Verb for Ls {
    fn run(self, cx: &mut Context) -> Outcome {
        View::show(&tables::DEVICE, &self.show)?.tell(cx, |cx| {
            let id = cx.on_pool(self.id);
            Ok(cx.daemon.call(&container::DevicesList { id })?.devices)
        })
    }
}

/// Replace all devices that were added to a container by those on standard input
///
/// Standard input is a JSON document:
/// {"devices": [{"type": "char", "major": "10", "minor": "229", "mode": "rwm", "name": "/dev/fuse"}]}
#[derive(Debug, clap::Args)]
pub struct Replace {
    /// Id of the container
    #[arg(value_name = "CTID")]
    id: Ref,
}

impl Verb for Replace {
    fn run(self, cx: &mut Context) -> Outcome {
        let id = cx.on_pool(self.id);
        let document: Document = input::document(
            "{\"devices\": [{\"type\", \"major\", \"minor\", \"mode\", \"name\"}]}",
        )?;
        cx.done(&container::DevicesReplace {
            id,
            devices: document.devices.into_iter().map(Device::from).collect(),
        })
    }
}

/// The document as people and vpsAdminOS write it: numbers may be numbers.
#[derive(Debug, Deserialize)]
struct Document {
    devices: Vec<Written>,
}

#[derive(Debug, Deserialize)]
struct Written {
    #[serde(rename = "type")]
    kind: DeviceKind,
    major: Number,
    minor: Number,
    mode: String,
    #[serde(default, alias = "dev_name")]
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Number {
    Number(u32),
    Text(String),
}

impl From<Number> for String {
    fn from(n: Number) -> String {
        match n {
            Number::Number(n) => n.to_string(),
            Number::Text(t) => t,
        }
    }
}

impl From<Written> for Device {
    fn from(w: Written) -> Device {
        Device {
            kind: w.kind,
            major: w.major.into(),
            minor: w.minor.into(),
            mode: w.mode,
            name: w.name,
            inherited: false,
        }
    }
}
