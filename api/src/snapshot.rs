//! Snapshots of containers, and schedules that make them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::names::{GroupPath, InvalidName, Name, Ref, invalid, string_newtype};

/// Longest name of a snapshot, bytes.
pub const MAX_SNAPSHOT: usize = 80;
/// Most snapshots that one part of a schedule keeps.
pub const MAX_KEEP: u32 = 1000;

/// Name of a snapshot: 1 to 80 letters, digits, `_`, `.`, `:` and `-`, beginning with a letter or
/// digit, and not with `osctl-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotName(String);

impl SnapshotName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    fn to_text(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

impl FromStr for SnapshotName {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<SnapshotName, InvalidName> {
        let no = |rule| Err(invalid("name of a snapshot", s, rule));
        let good = |b: u8| b.is_ascii_alphanumeric() || b"_.:-".contains(&b);
        if s.starts_with("osctl-") {
            return no("those that begin with osctl- are the daemon's own");
        }
        if s.len() > MAX_SNAPSHOT
            || !s.starts_with(|c: char| c.is_ascii_alphanumeric())
            || !s.bytes().all(good)
        {
            return no(
                "use 1 to 80 letters, digits, '_', '.', ':' and '-', beginning with a letter or digit",
            );
        }
        Ok(SnapshotName(s.to_owned()))
    }
}

string_newtype!(SnapshotName, "SnapshotName");

/// How often a part of a schedule makes a snapshot; the days are those of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// At the full hour.
    Hourly,
    /// At midnight.
    Daily,
    /// On Mondays, at midnight.
    Weekly,
    /// On the first of the month, at midnight.
    Monthly,
}

impl Period {
    /// All of them.
    pub const ALL: [Period; 4] = [
        Period::Hourly,
        Period::Daily,
        Period::Weekly,
        Period::Monthly,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Period::Hourly => "hourly",
            Period::Daily => "daily",
            Period::Weekly => "weekly",
            Period::Monthly => "monthly",
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How many snapshots of which periods a schedule keeps: `hourly=24,daily=7`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Keep(BTreeMap<Period, u32>);

impl Keep {
    /// Its parts.
    pub fn parts(&self) -> impl Iterator<Item = (Period, u32)> + '_ {
        self.0.iter().map(|(period, count)| (*period, *count))
    }

    /// How many of a period it keeps; nothing when it does not concern itself with them.
    pub fn count(&self, period: Period) -> Option<u32> {
        self.0.get(&period).copied()
    }

    fn to_text(&self) -> Cow<'_, str> {
        let parts = self
            .parts()
            .map(|(period, count)| format!("{period}={count}"));
        parts.collect::<Vec<_>>().join(",").into()
    }
}

impl FromStr for Keep {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Keep, InvalidName> {
        let no = |rule| invalid("schedule of snapshots", s, rule);
        let rule =
            "write PERIOD=COUNT,…; periods are hourly, daily, weekly, monthly, counts 0 to 1000";
        let mut keep = BTreeMap::new();
        for part in s.split(',') {
            let (period, count) = part.split_once('=').ok_or_else(|| no(rule))?;
            let period = Period::ALL.into_iter().find(|p| p.as_str() == period);
            let count = count.parse().ok().filter(|n| *n <= MAX_KEEP);
            match (period, count) {
                (Some(period), Some(count)) => match keep.insert(period, count) {
                    None => {}
                    Some(_) => return Err(no("name each period once")),
                },
                _ => return Err(no(rule)),
            }
        }
        Ok(Keep(keep))
    }
}

string_newtype!(Keep, "Keep");

/// Make a snapshot of a container, of all its datasets at the same moment
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct New {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Name of the snapshot; the time unless told
    #[arg(value_name = "SNAPSHOT")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotName>,
}

/// List snapshots of containers
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct List {
    /// Of these containers; of all when absent
    #[arg(value_name = "CTID")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<Ref>,
    /// Only on this pool
    #[arg(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
}

/// Destroy a snapshot of a container
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct Delete {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Name of the snapshot
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: SnapshotName,
}

/// Return the data of a container to a snapshot: what was written since then is lost
///
/// The container must be stopped. Its configuration stays as it is, and so do datasets that are
/// younger than the snapshot.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct Rollback {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Name of the snapshot
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: SnapshotName,
    /// Destroy the snapshots that are newer
    #[arg(long)]
    #[serde(default)]
    pub destroy_newer: bool,
    /// Stop the container if it runs, and start it again
    #[arg(short, long)]
    #[serde(default)]
    pub restart: bool,
}

/// Make a container from a snapshot of another one
///
/// It takes no time and no space, and the snapshot stays for as long as the new container exists.
/// The configuration is copied, but for the schedule of snapshots, and addresses, routes and
/// hardware addresses of network interfaces.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct Clone {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Name of the snapshot
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: SnapshotName,
    /// Id of the new container
    #[arg(value_name = "NEW-CTID")]
    pub new_id: Name,
    /// User whose id map it gets; one of its own unless told
    #[arg(short, long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Name>,
    /// Group; that of the container unless told
    #[arg(short, long)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupPath>,
}

/// Mount a snapshot on the host, to read its files; shows where
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct Mount {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Name of the snapshot
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: SnapshotName,
}

/// Unmount a snapshot from the host
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct Unmount {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// Name of the snapshot
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: SnapshotName,
}

/// Have snapshots of a container made and destroyed by schedule
///
/// Hourly ones are made at the full hour, daily ones at midnight of UTC, weekly ones on Mondays,
/// monthly ones on the first; one that was missed is made when it is found out. Of each period the
/// newest ones are kept, as many as told. Snapshots that the schedule has not made are never
/// destroyed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct Schedule {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
    /// How many of which, such as hourly=24,daily=7,weekly=4,monthly=12
    #[arg(short, long, value_name = "PERIOD=COUNT,…")]
    pub keep: Keep,
}

/// Make no more snapshots of a container by schedule; those that there are stay
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, clap::Args)]
#[group(skip)]
pub struct Unschedule {
    /// Id of the container
    #[arg(value_name = "CTID")]
    pub id: Ref,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    /// Name of the pool.
    pub pool: Name,
    /// Id of the container.
    pub id: Name,
    /// Name.
    pub name: String,
    /// When it was made, seconds since 1970-01-01 00:00 UTC.
    pub created: i64,
    /// Bytes that destroying it alone would free.
    pub used: u64,
    /// Bytes that its files take, shared ones too.
    pub referenced: u64,
    /// Period of the schedule that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// When the schedule destroys it, if it goes on as it is; seconds since 1970-01-01 00:00 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// Containers that were made from it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clones: Vec<String>,
    /// Where its files are on the host, while it is mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mounted: Option<String>,
}

/// Snapshots, of each container the oldest first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Snapshots {
    /// The snapshots.
    pub snapshots: Vec<Snapshot>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_snapshots() {
        for good in ["a", "2026-01-01T00:00:00Z", "before.upgrade_2", "osctl"] {
            assert_eq!(good.parse::<SnapshotName>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "-a",
            ".a",
            "a b",
            "a@b",
            "a/b",
            "osctl-x",
            &"x".repeat(81),
        ] {
            assert!(bad.parse::<SnapshotName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn schedules_have_one_form() {
        let keep: Keep = "daily=7,hourly=24,monthly=0".parse().unwrap();
        assert_eq!(keep.to_string(), "hourly=24,daily=7,monthly=0");
        assert_eq!(
            (keep.count(Period::Daily), keep.count(Period::Weekly)),
            (Some(7), None)
        );
        for bad in [
            "",
            "daily",
            "daily=",
            "daily=-1",
            "daily=1001",
            "yearly=1",
            "daily=1,daily=2",
            "daily=1,",
        ] {
            assert!(bad.parse::<Keep>().is_err(), "{bad:?}");
        }
        let json = serde_json::to_string(&keep).unwrap();
        assert_eq!(serde_json::from_str::<Keep>(&json).unwrap(), keep);
    }
}
