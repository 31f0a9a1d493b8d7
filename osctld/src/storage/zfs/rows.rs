//! What `zfs list` tells of snapshots. Pure.

use super::program;
use crate::storage::check_id;
use crate::storage::snapshots::check_name;

/// User property of snapshots that are there for an operation only: `yes`.
pub(super) const TEMPORARY: &str = "org.osctl:temporary";
/// User property of snapshots that a schedule made: which part of it.
pub(super) const SCHEDULE: &str = "org.osctl:schedule";
/// What is asked for, in order.
pub(super) const FIELDS: &str = "name,createtxg,creation,used,referenced,clones,org.osctl:schedule";

/// A snapshot of one of a container's datasets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: String,
    /// Relative to the container's own dataset, which is empty.
    pub(super) dataset: String,
    pub(super) name: String,
    pub(super) txg: u64,
    pub(super) created: u64,
    pub(super) used: u64,
    pub(super) referenced: u64,
    /// Whole names of datasets.
    pub(super) clones: Vec<String>,
    pub(super) schedule: Option<String>,
}

impl Row {
    /// Name of the dataset as below `ct`.
    fn path(&self) -> String {
        match self.dataset.as_str() {
            "" => self.id.clone(),
            relative => format!("{}/{relative}", self.id),
        }
    }

    /// Name of the snapshot as below `ct`.
    pub(super) fn snapshot(&self) -> String {
        format!("{}@{}", self.path(), self.name)
    }

    /// Name of the snapshot as below the pool.
    pub(super) fn below(&self) -> String {
        format!("{}/{}", super::names::CT, self.snapshot())
    }

    /// Name of the dataset as below the pool.
    pub(super) fn of(&self) -> String {
        format!("{}/{}", super::names::CT, self.path())
    }
}

/// One row of [`FIELDS`]; nothing when it is no snapshot of a container below `parent` or has no
/// name that we would give.
pub(super) fn parse(parent: &str, row: &program::Row) -> Option<Row> {
    let [name, txg, created, used, referenced, clones, schedule] = row.as_slice() else {
        return None;
    };
    let (dataset, name) = name
        .strip_prefix(parent)?
        .strip_prefix('/')?
        .split_once('@')?;
    let (id, dataset) = dataset.split_once('/').unwrap_or((dataset, ""));
    check_id(id).ok()?;
    check_name(name).ok()?;
    let some = |text: &str| !text.is_empty() && text != "-";
    Some(Row {
        id: id.to_owned(),
        dataset: dataset.to_owned(),
        name: name.to_owned(),
        txg: program::number(txg)?,
        created: program::number(created)?,
        used: program::number(used)?,
        referenced: program::number(referenced)?,
        clones: clones
            .split(',')
            .filter(|c| some(c))
            .map(str::to_owned)
            .collect(),
        schedule: Some(schedule.clone()).filter(|s| some(s)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Option<Row> {
        parse("t/ct", &text.split('\t').map(str::to_owned).collect())
    }

    #[test]
    fn rows_of_snapshots() {
        let own = row("t/ct/web1@today\t12\t1700000000\t5\t6\t\t-").unwrap();
        assert_eq!((own.id.as_str(), own.dataset.as_str()), ("web1", ""));
        assert_eq!(
            (own.txg, own.created, own.used, own.referenced),
            (12, 1_700_000_000, 5, 6)
        );
        assert!(own.clones.is_empty() && own.schedule.is_none());
        assert_eq!(
            (own.below().as_str(), own.of().as_str()),
            ("ct/web1@today", "ct/web1")
        );

        let deep = row("t/ct/a/b/c@x\t1\t2\t3\t4\tt/ct/d,t/e\tdaily").unwrap();
        assert_eq!(
            (deep.dataset.as_str(), deep.snapshot().as_str()),
            ("b/c", "a/b/c@x")
        );
        assert_eq!(deep.clones, ["t/ct/d", "t/e"]);
        assert_eq!(deep.schedule.as_deref(), Some("daily"));
        for other in [
            "t/ct@x\t1\t2\t3\t4\t\t-",
            "t/ct/new.a.1@x\t1\t2\t3\t4\t\t-",
            "t/ctx/a@x\t1\t2\t3\t4\t\t-",
            "t/ct/a@x y\t1\t2\t3\t4\t\t-",
            "t/ct/a\t1\t2\t3\t4\t\t-",
            "t/ct/a@x\t1\t2\t-\t4\t\t-",
            "t/ct/a@x\t1\t2\t3\t4\t",
        ] {
            assert!(row(other).is_none(), "{other}");
        }
    }
}
