//! What is told and kept of calls that change something: management events, the history of the
//! pool and one line in the log.
//!
//! It owns what is left out because it is secret.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use osctl_api::Class;
use osctl_api::daemon::{Event, EventKind, HistoryEntry};
use osctl_api::names::{GroupRef, Name, Ref};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Context;
use crate::blocking::blocking;
use crate::daemon::Daemon;
use crate::error::{Error, chain};
use crate::events;
use crate::pool::Pool;

/// Longest text of a parameter or command line that is kept, bytes.
const MAX_TEXT: usize = 4096;

/// A call that is being carried out; dropping it unfinished counts as a failure.
pub(super) struct Audit(Option<Running>);

struct Running {
    daemon: Arc<Daemon>,
    method: &'static str,
    peer: u32,
    target: Target,
    /// The pool it is about, which may be gone in the end.
    home: Option<Arc<Pool>>,
    params: BTreeMap<String, Value>,
    cli: Option<String>,
    since: Instant,
}

/// Starts the record of a call; calls that only read leave none.
pub(super) fn begin(cx: &Context, method: &'static str, class: Class, raw: &RawValue) -> Audit {
    if class == Class::Read {
        return Audit(None);
    }
    let mut params: BTreeMap<String, Value> = serde_json::from_str(raw.get()).unwrap_or_default();
    let target = Target::of(method, &params).resolved(&cx.daemon);
    let secret = hide_secrets(&mut params);
    params.values_mut().for_each(shorten);
    let running = Running {
        daemon: cx.daemon.clone(),
        method,
        peer: cx.peer.uid,
        cli: cx.cli.clone().filter(|_| !secret).map(cut),
        params,
        since: Instant::now(),
        home: target.pool.as_ref().and_then(|p| cx.daemon.pool(p).ok()),
        target,
    };
    running.tell("run");
    Audit(Some(running))
}

impl Audit {
    /// Ends the record.
    pub(super) async fn end<T>(mut self, result: &Result<T, Error>) {
        let Some(running) = self.0.take() else { return };
        let Some((pool, entry)) = running.end(result.as_ref().err()) else {
            return;
        };
        let kept = blocking(move || {
            keep(&pool, entry);
            Ok(())
        })
        .await;
        if let Err(e) = kept {
            tracing::warn!("{}", e.chain());
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        if let Some(running) = self.0.take() {
            let abandoned = Error::internal("the operation was abandoned");
            // It is dropped with the threads of the daemon: a line in a file is all that is left.
            if let Some((pool, entry)) = running.end(Some(&abandoned)) {
                keep(&pool, entry);
            }
        }
    }
}

/// Appends to the history of a pool. Blocks.
fn keep(pool: &Pool, mut entry: HistoryEntry) {
    // Not in a pool that does not answer: that would be waited for, for ever.
    if let Err(e) = pool.answers() {
        tracing::warn!(pool = %pool.name, "no history of what was asked: {}", e.chain());
        return;
    }
    let kept = pool.history.append(&entry).or_else(|_| {
        // Too long a line, most likely.
        entry.params.clear();
        pool.history.append(&entry)
    });
    if let Err(e) = kept {
        tracing::warn!(pool = %pool.name, "{}", chain(&e));
    }
}

impl Running {
    fn end(mut self, error: Option<&Error>) -> Option<(Arc<Pool>, HistoryEntry)> {
        // What the call made is on a pool only now.
        self.target = self.target.resolved(&self.daemon);
        let makes = self.method.ends_with("New") || self.method == "ContainerImport";
        let on_default = makes || self.target.object == Object::AddressSet;
        if self.target.pool.is_none() && on_default {
            let default = self.daemon.default_pool();
            self.target.pool = default.ok().map(|p| p.name.clone());
        }
        self.tell(if error.is_some() { "failed" } else { "done" });
        let (method, peer, target) = (self.method, self.peer, self.target.to_string());
        let ms = self.since.elapsed().as_millis() as u64;
        match error {
            None => tracing::info!(uid = peer, ms, "{method} {target}: done"),
            Some(e) => tracing::warn!(uid = peer, ms, "{method} {target}: {}", e.chain()),
        }
        let home = self
            .home
            .or_else(|| self.daemon.pool(self.target.pool.as_ref()?).ok())?;
        let entry = HistoryEntry {
            time: jiff::Timestamp::now().as_second(),
            pool: home.name.clone(),
            method: method.to_owned(),
            cli: self.cli,
            params: self.params,
            error: error.map(|e| cut(e.chain())),
        };
        Some((home, entry))
    }

    fn tell(&self, action: &str) {
        self.daemon.events.publish(Event {
            pool: self.target.pool.clone(),
            id: self.target.id.clone(),
            action: Some(action.to_owned()),
            method: Some(self.method.to_owned()),
            ..events::event(EventKind::Management)
        });
    }
}

/// What a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Object {
    Daemon,
    Pool,
    IdRange,
    User,
    Group,
    Container,
    AddressSet,
}

#[derive(Debug, Clone)]
struct Target {
    object: Object,
    pool: Option<Name>,
    id: Option<String>,
    /// Which one of the container's interfaces.
    netif: Option<String>,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.pool, &self.id) {
            (Some(pool), Some(id)) if self.object != Object::Pool => write!(f, "{pool}:{id}"),
            (_, Some(id)) => f.write_str(id),
            (Some(pool), None) => write!(f, "{pool}"),
            (None, None) => f.write_str("-"),
        }?;
        match &self.netif {
            Some(netif) => write!(f, " {netif}"),
            None => Ok(()),
        }
    }
}

impl Target {
    fn of(method: &str, params: &BTreeMap<String, Value>) -> Target {
        let (object, key) = [
            ("Pool", Object::Pool, "pool"),
            ("IdRange", Object::IdRange, "id_range"),
            ("User", Object::User, "user"),
            ("Group", Object::Group, "group"),
            ("Container", Object::Container, "id"),
            ("FirewallSetNew", Object::AddressSet, "set"),
            ("FirewallSetDelete", Object::AddressSet, "set"),
            ("FirewallSetAdd", Object::AddressSet, "set"),
            ("FirewallSetRemove", Object::AddressSet, "set"),
            ("Firewall", Object::Container, "id"),
            ("Netif", Object::Container, "id"),
            ("Mount", Object::Container, "id"),
            ("Dataset", Object::Container, "id"),
            ("Snapshot", Object::Container, "id"),
        ]
        .into_iter()
        .find(|(prefix, _, _)| method.starts_with(prefix))
        .map_or((Object::Daemon, ""), |(_, object, key)| (object, key));
        let text = params.get(key).and_then(Value::as_str).unwrap_or_default();
        let (pool, id) = match object {
            Object::Daemon => (None, None),
            Object::Pool => (
                text.parse().ok(),
                text.parse::<Name>().ok().map(String::from),
            ),
            Object::Group => match text.parse::<GroupRef>() {
                Ok(r) => (r.pool, Some(r.path.to_string())),
                Err(_) => (None, None),
            },
            Object::IdRange | Object::User | Object::Container | Object::AddressSet => {
                match text.parse::<Ref>() {
                    Ok(r) => (r.pool, Some(r.name.to_string())),
                    Err(_) => (None, None),
                }
            }
        };
        // What an archive becomes may have its name from the archive.
        let pool = pool.or_else(|| match method {
            "ContainerImport" => params.get("pool")?.as_str()?.parse().ok(),
            _ => None,
        });
        let name = params.get("name").and_then(Value::as_str);
        let netif = name.filter(|_| method.starts_with("Netif"));
        Target {
            object,
            pool,
            id,
            netif: netif.map(|n| cut(n.to_owned())),
        }
    }

    /// The target with the pool that has the object, when it was not named.
    fn resolved(mut self, daemon: &Daemon) -> Target {
        let Some(id) = self.id.as_deref().filter(|_| self.pool.is_none()) else {
            return self;
        };
        self.pool = match self.object {
            // Which pool has the set is on disk.
            Object::Daemon | Object::Pool | Object::AddressSet => None,
            Object::Group => id
                .parse()
                .ok()
                .and_then(|path| first_pool(daemon, |p| p.groups.contains(&path))),
            object => id.parse::<Name>().ok().and_then(|name| {
                first_pool(daemon, |p| match object {
                    Object::IdRange => p.id_ranges.read().contains_key(&name),
                    Object::User => p.users.read().contains_key(&name),
                    _ => p.containers.read().contains_key(&name),
                })
            }),
        };
        self
    }
}

/// The name of the first pool for which `has` holds.
fn first_pool(daemon: &Daemon, has: impl Fn(&Pool) -> bool) -> Option<Name> {
    let pools = daemon.pools.read();
    pools.values().find(|p| has(p)).map(|p| p.name.clone())
}

/// Removes what must not be kept; returns whether there was any, because then the command line
/// has it too.
fn hide_secrets(params: &mut BTreeMap<String, Value>) -> bool {
    let mut found = false;
    for key in ["password", "env"] {
        found |= params.remove(key).is_some();
    }
    found
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(s) => *s = cut(std::mem::take(s)),
        Value::Array(items) => {
            items.truncate(256);
            items.iter_mut().for_each(shorten);
        }
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let mut end = MAX_TEXT;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(json: &str) -> BTreeMap<String, Value> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_object_is_found_in_the_parameters() {
        let t = Target::of("ContainerNew", &params(r#"{"id":"tank:web","user":"u"}"#));
        assert_eq!(t.to_string(), "tank:web");
        let t = Target::of("UserDelete", &params(r#"{"user":"u"}"#));
        assert_eq!((t.pool, t.id.as_deref()), (None, Some("u")));
        let t = Target::of("GroupNew", &params(r#"{"group":"tank:/a/b"}"#));
        assert_eq!(t.to_string(), "tank:/a/b");
        let t = Target::of("PoolExport", &params(r#"{"pool":"tank"}"#));
        assert_eq!(t.to_string(), "tank");
        let t = Target::of("NetifIpAdd", &params(r#"{"id":"tank:web","name":"eth0"}"#));
        assert_eq!(
            (t.to_string(), t.id),
            ("tank:web eth0".into(), Some("web".into()))
        );
        let t = Target::of(
            "FirewallSet",
            &params(r#"{"id":"tank:web","inbound":"deny"}"#),
        );
        assert_eq!(t.to_string(), "tank:web");
        let t = Target::of("FirewallSetAdd", &params(r#"{"set":"tank:office"}"#));
        assert_eq!(t.to_string(), "tank:office");
        let t = Target::of("Shutdown", &params(r#"{"message":"x"}"#));
        assert_eq!(t.to_string(), "-");
    }

    #[test]
    fn secrets_and_their_command_line_are_left_out() {
        let mut p = params(r#"{"id":"a","user":"root","password":"hunter2"}"#);
        assert!(hide_secrets(&mut p));
        assert!(!format!("{p:?}").contains("hunter2"));
        let mut p = params(r#"{"id":"a"}"#);
        assert!(!hide_secrets(&mut p));
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let mut v = Value::String("é".repeat(MAX_TEXT));
        shorten(&mut v);
        assert!(v.as_str().unwrap().len() <= MAX_TEXT + 4);
    }
}
