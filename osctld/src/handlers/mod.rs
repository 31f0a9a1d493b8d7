//! From a call to the handler of its method and back.
//!
//! It owns dispatch and what is the same for all methods: parsing parameters, events and history
//! of what was done, encoding the reply. A method without a handler does not compile.

mod address_set;
mod archive;
mod audit;
mod container;
mod context;
mod copies;
mod daemon;
mod firewall;
mod group;
mod id_range;
mod mounts;
mod netif;
mod pool;
mod snapshot;
mod trash_bin;
mod user;

use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;

use osctl_api::names::{Name, Ref};
use osctl_api::wire;
use osctl_api::{Class, Code, Kind, Method, Step};
use serde::Serialize;
use serde_json::value::RawValue;

pub use context::{Cancel, Context, ProgressSender};

use crate::error::Result;

/// A method's implementation.
pub trait Handle: Method {
    /// Does what the call asks for.
    ///
    /// It runs in a task of its own, which goes on when the client is gone, except for methods of
    /// kind [`Kind::Events`].
    fn handle(self, cx: &mut Context) -> impl Future<Output = Result<Self::Reply>> + Send;
}

/// What came of a call: the frame of its last reply and what goes with it.
#[derive(Debug)]
pub struct Outcome {
    /// The last reply, encoded.
    pub frame: Vec<u8>,
    /// File descriptors that go with it.
    pub fds: Vec<OwnedFd>,
}

type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A method as dispatch knows it.
pub struct Entry {
    /// Name without the interface.
    pub name: &'static str,
    /// What a caller needs.
    pub class: Class,
    /// How it replies.
    pub kind: Kind,
    /// Runs it.
    pub run: fn(Context, Box<RawValue>) -> Running,
}

macro_rules! entries {
    ($($name:ident, $params:ty, $reply:ty, $class:ident, $kind:ident;)*) => {
        /// The method of this name, without the interface.
        pub fn find(name: &str) -> Option<Entry> {
            match name {
                $(stringify!($name) => Some(Entry {
                    name: stringify!($name),
                    class: Class::$class,
                    kind: Kind::$kind,
                    run: |cx, raw| Box::pin(run::<$params>(cx, raw)),
                }),)*
                _ => None,
            }
        }
    };
}
osctl_api::for_each_method!(entries);

/// Whether an object is among those that were asked for; all are when none was named.
fn matches(refs: &[Ref], pool: &Name, name: &Name) -> bool {
    let meant = |r: &Ref| r.name == *name && r.pool.as_ref().is_none_or(|p| p == pool);
    refs.is_empty() || refs.iter().any(meant)
}

async fn run<P: Handle>(mut cx: Context, raw: Box<RawValue>) -> Outcome {
    let params = match parse::<P>(&raw) {
        Ok(params) => params,
        Err(bad) => return Outcome::of_bad_parameter(&bad),
    };
    let audit = audit::begin(&cx, P::NAME, P::CLASS, &raw);
    let result = params.handle(&mut cx).await;
    audit.end(&result).await;
    let frame = match result {
        Ok(reply) if P::KIND == Kind::Progress => encode(&Step {
            progress: None,
            result: Some(reply),
        }),
        Ok(reply) => encode(&reply),
        Err(e) => {
            // What was to go with the reply has no reply to go with.
            cx.reply_fds.clear();
            wire::encode_error(&e.into())
        }
    };
    Outcome {
        frame,
        fds: std::mem::take(&mut cx.reply_fds),
    }
}

fn encode<T: Serialize>(reply: &T) -> Vec<u8> {
    match wire::encode_reply(reply, false) {
        Ok(frame) if frame.len() <= wire::MAX_REPLY => frame,
        Ok(_) => wire::encode_error(&osctl_api::Error::new(
            Code::Internal,
            "the reply is too large",
        )),
        Err(e) => wire::encode_error(&e),
    }
}

/// Parameters of `org.varlink.service.InvalidParameter`; the message is an addition of ours.
#[derive(Debug, Serialize)]
struct BadParameter {
    parameter: String,
    message: String,
}

impl Outcome {
    fn of_bad_parameter(bad: &BadParameter) -> Outcome {
        Outcome {
            frame: wire::encode_foreign_error("org.varlink.service.InvalidParameter", bad),
            fds: Vec::new(),
        }
    }
}

fn parse<P: Method>(raw: &RawValue) -> Result<P, BadParameter> {
    serde_json::from_str(raw.get()).map_err(|e| BadParameter {
        parameter: culprit(raw.get(), &e),
        message: e.to_string(),
    })
}

/// The name of the parameter that an error is about.
fn culprit(text: &str, error: &serde_json::Error) -> String {
    let message = error.to_string();
    if let Some(rest) = message.strip_prefix("missing field `") {
        return rest.split('`').next().unwrap_or_default().to_owned();
    }
    let Ok(fields) = serde_json::from_str::<std::collections::BTreeMap<&str, &RawValue>>(text)
    else {
        return "parameters".to_owned();
    };
    // The last value that starts before the place where the parser stopped.
    let before: usize = text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1))
        .map(str::len)
        .sum();
    let stopped = before + error.column();
    let start = |raw: &RawValue| raw.get().as_ptr().addr() - text.as_ptr().addr();
    fields
        .iter()
        .map(|(name, raw)| (start(raw), *name))
        .filter(|(at, _)| *at < stopped)
        .max()
        .map_or("parameters", |(_, name)| name)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blamed(json: &str) -> String {
        let raw = RawValue::from_string(json.to_owned()).unwrap();
        parse::<osctl_api::user::New>(&raw).unwrap_err().parameter
    }

    #[test]
    fn the_parameter_at_fault_is_named() {
        assert_eq!(blamed("{}"), "user");
        assert_eq!(blamed(r#"{"user":3}"#), "user");
        assert_eq!(blamed(r#"{"user":"../x","id_range":"a"}"#), "user");
        assert_eq!(blamed(r#"{"id_range":"a/b","user":"x"}"#), "id_range");
        assert_eq!(
            blamed("{\n\"user\":\"x\",\n\"map\":[{\"ns_id\":-1}],\"id_range\":\"a\"}"),
            "map"
        );
        assert_eq!(blamed("[]"), "parameters");
    }
}
