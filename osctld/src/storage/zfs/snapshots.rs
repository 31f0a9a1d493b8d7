//! Snapshots of containers: made, listed, destroyed, returned to, cloned, looked into.
//!
//! A container's snapshot is the one of its own dataset; datasets below that have one of the same
//! name of the same moment, unless they are younger than it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use osctl_linux::beneath::{Mounts, Root, Symlinks};
use osctl_linux::mount::{ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY};
use osctl_linux::zfs::{InUse, Value};

use super::mounts;
use super::names::CT;
use super::rows::{FIELDS, Row, SCHEDULE, TEMPORARY, parse};
use super::{Failure, ROOTFS, ZfsStorage, failed, unmounted};
use crate::failpoint;
use crate::storage::snapshots::{Newer, Snapshot, Snapshots, TEMPORARY as PREFIX, check_name};
use crate::storage::{Error, Result, Storage, check_id};

/// Most snapshots that one run of `zfs` is told of.
const MOST_NAMES: usize = 500;
/// Directory that snapshots are mounted in.
pub(super) const MOUNTS: &str = "ct/.snapshots";

impl ZfsStorage {
    /// Where the snapshot of a dataset, named as below `ct`, is mounted.
    fn snapshot_place(&self, snapshot: &str) -> PathBuf {
        self.path.join(MOUNTS).join(snapshot)
    }

    fn need(&self, id: &str) -> Result<()> {
        match self.exists(id)? {
            true => Ok(()),
            false => Err(Error::NotFound(id.to_owned())),
        }
    }

    /// What `zfs` tells of the snapshots of a container, or of all, oldest first.
    fn snapshot_rows(&self, below: &str) -> Result<Vec<Row>> {
        let args = [
            "list",
            "-Hp",
            "-r",
            "-t",
            "snapshot",
            "-s",
            "createtxg",
            "-o",
            FIELDS,
            below,
        ];
        let rows = self.ask(&args)?;
        let parent = self.base.below(CT);
        Ok(rows.iter().filter_map(|row| parse(&parent, row)).collect())
    }

    pub(super) fn rows_of(&self, id: &str) -> Result<Vec<Row>> {
        self.need(id)?;
        self.snapshot_rows(&self.base.container(id)?)
    }

    /// Those rows that are of one snapshot, which must be there.
    fn rows_named(&self, id: &str, name: &str) -> Result<Vec<Row>> {
        let mut rows = self.rows_of(id)?;
        rows.retain(|row| row.name == name);
        match rows.iter().any(|row| row.dataset.is_empty()) {
            true => Ok(rows),
            false => Err(Error::NoSnapshot {
                id: id.to_owned(),
                name: name.to_owned(),
            }),
        }
    }

    /// Snapshots of containers from their datasets' rows.
    fn gather(&self, rows: Vec<Row>) -> Result<BTreeMap<String, Vec<Snapshot>>> {
        let mut all: BTreeMap<String, Vec<Snapshot>> = BTreeMap::new();
        let (own, below): (Vec<Row>, Vec<Row>) =
            rows.into_iter().partition(|row| row.dataset.is_empty());
        let mounted = mounts::all()?;
        for row in own {
            let place = self.snapshot_place(&row.snapshot());
            let snapshot = Snapshot {
                mounted: mounted.iter().any(|m| m.path == place).then_some(place),
                name: row.name,
                order: row.txg,
                created: row.created,
                used: row.used,
                referenced: row.referenced,
                schedule: row.schedule,
                clones: row
                    .clones
                    .iter()
                    .map(|clone| self.clone_name(clone))
                    .collect(),
            };
            all.entry(row.id).or_default().push(snapshot);
        }
        for row in below {
            let of = all
                .get_mut(&row.id)
                .into_iter()
                .flatten()
                .find(|s| s.name == row.name);
            let Some(snapshot) = of else {
                continue;
            };
            snapshot.used += row.used;
            snapshot.referenced += row.referenced;
            let clones = row.clones.iter().map(|clone| self.clone_name(clone));
            snapshot.clones.extend(clones);
            snapshot.clones.sort();
            snapshot.clones.dedup();
        }
        Ok(all)
    }

    /// The container that a clone is (part of), or the name of the dataset.
    fn clone_name(&self, dataset: &str) -> String {
        let below = self
            .base
            .relative(dataset)
            .and_then(|r| r.strip_prefix("ct/"));
        let id = below.and_then(|below| below.split('/').next());
        id.filter(|id| check_id(id).is_ok())
            .unwrap_or(dataset)
            .to_owned()
    }

    /// Why a snapshot can't be destroyed, when that is known.
    pub(super) fn in_use<'a>(
        &self,
        rows: impl IntoIterator<Item = &'a Row>,
    ) -> Result<Option<String>> {
        let mounted = mounts::all()?;
        for row in rows {
            let shown = format!("snapshot {} of container {}", row.name, row.id);
            if let Some(clone) = row.clones.first() {
                return Ok(Some(format!(
                    "{shown} has the clone {}",
                    self.clone_name(clone)
                )));
            }
            let place = self.snapshot_place(&row.snapshot());
            if mounted.iter().any(|m| m.path == place) {
                return Ok(Some(format!("{shown} is mounted")));
            }
        }
        Ok(None)
    }

    pub(super) fn destroy_rows(&self, rows: &[Row]) -> Result<()> {
        if let Some(why) = self.in_use(rows)? {
            return Err(Error::InUse(why));
        }
        let names: Vec<String> = rows
            .iter()
            .map(|row| self.base.below(&row.below()))
            .collect();
        self.zfs()?
            .destroy_snapshots(&names, InUse::Refuse)
            .map_err(|e| {
                let busy = |e: &Failure| {
                    let codes = e.each().iter().map(|(_, code)| code.errno());
                    codes
                        .chain([e.code().errno()])
                        .any(|e| e == Errno::EBUSY || e == Errno::EEXIST)
                };
                let row = rows.first();
                let of = row.map_or("", |row| &row.id);
                match busy(&e) {
                    true => {
                        Error::InUse(format!("a snapshot of container {of} is held or open: {e}"))
                    }
                    false => failed("destroy", format!("snapshots of container {of}"))(e),
                }
            })
    }

    /// Destroys what operations that did not end have left; how many.
    pub(super) fn forget_temporary(&self) -> Result<usize> {
        let below = self.base.below(CT);
        let fields = format!("name,{TEMPORARY}");
        let rows = self.ask(&["list", "-Hp", "-r", "-t", "snapshot", "-o", &fields, &below])?;
        let ours = rows.into_iter().filter_map(|row| {
            let [name, temporary] = row.as_slice() else {
                return None;
            };
            let is_ours = temporary == "yes" && name.split_once('@')?.1.starts_with(PREFIX);
            is_ours.then(|| name.clone())
        });
        let names: Vec<String> = ours.collect();
        if !names.is_empty() {
            let told = self.zfs()?.destroy_snapshots(&names, InUse::Later);
            told.map_err(failed("destroy", "temporary snapshots"))?;
        }
        Ok(names.len())
    }

    /// Takes all of a container's snapshots out of the file tree.
    pub(super) fn unmount_snapshots(&self, id: &str) -> Result<()> {
        let (own, below) = (format!("{id}@"), format!("{id}/"));
        for mount in mounts::all()? {
            let place = mount.path.strip_prefix(self.path.join(MOUNTS)).ok();
            let place = place.and_then(Path::to_str);
            if place
                .is_some_and(|p| p.starts_with(&own) || (p.starts_with(&below) && p.contains('@')))
            {
                mounts::detach(&mount.path)?;
            }
        }
        Ok(())
    }
}

/// What tells that a snapshot is there for an operation only.
pub(super) fn temporary() -> Vec<(&'static str, Value)> {
    vec![(TEMPORARY, Value::Text("yes".into()))]
}

/// Opens the topmost directory in a snapshot, for reading.
pub(super) fn open_top(snapshot: &str) -> Result<Root> {
    let attributes = ATTR_RDONLY | ATTR_NODEV | ATTR_NOSUID | ATTR_NOEXEC;
    let mount = osctl_linux::mount::fsopen("zfs")
        .and_then(|fs| fs.option("source", Some(snapshot)))
        .and_then(|fs| fs.option("ro", None))
        .and_then(|fs| fs.mount(attributes));
    let mount = mount.map_err(|e| Error::io("open", snapshot, e))?;
    Ok(Root::from_fd(mount, Symlinks::Refuse, Mounts::Refuse))
}

impl Snapshots for ZfsStorage {
    fn datasets(&self, id: &str) -> Result<Vec<String>> {
        let top = self.base.container(id)?;
        self.need(id)?;
        let args = [
            "list",
            "-Hp",
            "-r",
            "-t",
            "filesystem",
            "-s",
            "name",
            "-o",
            "name",
            &top,
        ];
        let rows = self.ask(&args)?;
        let names = rows.iter().filter_map(|row| row.first());
        let below = names.filter_map(|name| {
            let rest = name.strip_prefix(&top)?;
            if rest.is_empty() {
                Some(rest)
            } else {
                rest.strip_prefix('/')
            }
        });
        Ok(below.map(str::to_owned).collect())
    }

    fn snapshots(&self, id: &str) -> Result<Vec<Snapshot>> {
        let mut all = self.gather(self.rows_of(id)?)?;
        Ok(all.remove(id).unwrap_or_default())
    }

    fn all_snapshots(&self) -> Result<BTreeMap<String, Vec<Snapshot>>> {
        self.gather(self.snapshot_rows(&self.base.below(CT))?)
    }

    fn snapshot(&self, id: &str, name: &str, schedule: Option<&str>) -> Result<()> {
        check_name(name)?;
        let top = self.base.container(id)?;
        let whole = |relative: &String| match relative.is_empty() {
            true => format!("{top}@{name}"),
            false => format!("{top}/{relative}@{name}"),
        };
        let names: Vec<String> = self.datasets(id)?.iter().map(whole).collect();
        let mut properties = Vec::new();
        if name.starts_with(PREFIX) {
            properties = temporary();
        }
        properties.extend(schedule.map(|part| (SCHEDULE, Value::Text(part.to_owned()))));
        self.zfs()?
            .snapshot(&names, &properties)
            .map_err(|e| match e.is(Errno::EEXIST) {
                true => Error::SnapshotExists {
                    id: id.to_owned(),
                    name: name.to_owned(),
                },
                false => failed("make", format!("snapshot {name} of container {id}"))(e),
            })?;
        failpoint!("snapshot.made");
        Ok(())
    }

    fn note_schedule(&self, id: &str, names: &[String], part: &str) -> Result<()> {
        let mut rows = self.rows_of(id)?;
        rows.retain(|row| names.contains(&row.name));
        let set = format!("{SCHEDULE}={part}");
        for some in rows.chunks(MOST_NAMES) {
            let names: Vec<String> = some.iter().map(|r| self.base.below(&r.below())).collect();
            let names = names.iter().map(String::as_str);
            self.ask(&["set", &set].into_iter().chain(names).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    fn destroy_snapshot(&self, id: &str, name: &str) -> Result<()> {
        check_name(name)?;
        self.destroy_rows(&self.rows_named(id, name)?)
    }

    fn check_rollback(&self, id: &str, name: &str, newer: Newer) -> Result<()> {
        check_name(name)?;
        let plan = self.planned(id, name, newer)?;
        match self.in_use(plan.newer_of_users())? {
            Some(why) => Err(Error::InUse(why)),
            None => Ok(()),
        }
    }

    fn rollback(&self, id: &str, name: &str, newer: Newer) -> Result<()> {
        check_name(name)?;
        self.return_to(id, name, newer)
    }

    fn finish_rollback(&self, id: &str) -> Result<()> {
        check_id(id)?;
        self.finish_rollbacks_of(id)
    }

    fn clone_snapshot(&self, id: &str, name: &str, to: &str) -> Result<()> {
        check_name(name)?;
        let target = self.base.container(to)?;
        let mut rows = self.rows_named(id, name)?;
        // Parents before children.
        rows.sort_by(|a, b| a.dataset.cmp(&b.dataset));
        if self.exists(to)? {
            return Err(Error::Exists(to.to_owned()));
        }
        self.mark(to)?;
        let cloned = rows.iter().try_for_each(|row| {
            let dataset = match row.dataset.as_str() {
                "" => target.clone(),
                relative => format!("{target}/{relative}"),
            };
            let snapshot = self.base.below(&row.below());
            let made = self.zfs()?.clone(&snapshot, &dataset, &unmounted());
            made.map_err(failed("make", format!("data of container {to}")))?;
            failpoint!("snapshot.cloned");
            Ok(())
        });
        if cloned.is_err() {
            // The first error is the one that counts; should this fail, the next start does it.
            let _ = self.trash(to).or_else(|_| self.unmark(to));
        }
        cloned
    }

    fn open_snapshot(&self, id: &str, dataset: &str, name: &str) -> Result<Root> {
        check_name(name)?;
        let snapshot = format!("{}@{name}", self.base.part(id, dataset)?);
        if !self
            .zfs()?
            .exists(&snapshot)
            .map_err(failed("look for", &snapshot))?
        {
            return Err(Error::NoSnapshot {
                id: id.to_owned(),
                name: name.to_owned(),
            });
        }
        // The mount lives for as long as anything in it is open.
        let top = open_top(&snapshot)?;
        top.dir(ROOTFS).map_err(|e| Error::io("open", &snapshot, e))
    }

    fn mount_snapshot(&self, id: &str, name: &str) -> Result<PathBuf> {
        check_name(name)?;
        let rows = self.rows_named(id, name)?;
        let mounted = rows.iter().try_for_each(|row| {
            let place = self.snapshot_place(&row.snapshot());
            if !mounts::is_mountpoint(&place)? {
                mounts::mount_snapshot(&self.base.below(&row.below()), &place)?;
            }
            Ok(())
        });
        if let Err(e) = mounted {
            // The first error is the one that counts.
            let _ = self.unmount_snapshot(id, name);
            return Err(e);
        }
        Ok(self.snapshot_place(&format!("{id}@{name}")).join(ROOTFS))
    }

    fn unmount_snapshot(&self, id: &str, name: &str) -> Result<bool> {
        check_name(name)?;
        check_id(id)?;
        let (own, below) = (format!("{id}@{name}"), format!("{id}/"));
        let end = format!("@{name}");
        let mut found = false;
        for mount in mounts::all()? {
            let place = mount.path.strip_prefix(self.path.join(MOUNTS)).ok();
            let Some(place) = place.and_then(Path::to_str) else {
                continue;
            };
            if place == own || (place.starts_with(&below) && place.ends_with(&end)) {
                mounts::detach(&mount.path)?;
                found = true;
            }
        }
        Ok(found)
    }
}
