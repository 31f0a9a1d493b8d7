//! Exporting a container: to an archive that this or another host makes it from again.
//!
//! A container that runs is stopped for its copy and started again after it, unless it is to be
//! copied live; where there are snapshots, it is started as soon as there is one. That it is to be
//! started again is noted first, so that the next daemon does it when this one dies.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Seek;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use osctl_api::archive as api;
use osctl_api::container::State;
use osctl_linux::beneath::Root;

use super::config::Config;
use super::copy::Audience;
use super::interruption::USUAL;
use super::pipes::{Outgoing, draft, is_pipe};
use super::portable::{DataFacts, container_yml, group_yml, user_yml};
use super::room::Room;
use super::verdict::Request;
use super::{Container, blocking, lengthy};
use crate::error::Error;
use crate::failpoint;
use crate::image::{self, Compression, Hook, Pack};
use crate::pool::Pool;
use crate::storage::transfer::temporary_snapshot;
use crate::storage::{Form, Watch};

/// Levels that are fast and compress well.
const GZIP: u32 = 6;
const ZSTD: i32 = 3;

impl Container {
    /// Writes it to the archive `out`, an empty file or a pipe. Whoever reads the pipe, and how fast,
    /// is nothing to the container: it gets the archive when that is complete.
    ///
    /// # Errors
    /// `InvalidState`, `Cancelled`; `Backend` when it can't be read or written, or does not start
    /// again.
    pub async fn export(
        self: &Arc<Self>,
        params: &api::Export,
        out: File,
        audience: Audience,
    ) -> Result<api::Exported, Error> {
        let (_daemon, pool) = self.home()?;
        let audience = audience.within(&pool);
        if !is_pipe(&out)? {
            check_output(&out)?;
            return self.export_to(params, (out, None), audience).await;
        }
        let mut pipe = Outgoing::new(&out, &audience.cancel)?;
        drop(out);
        let _gate = pool.enter()?;
        let on = Arc::clone(&pool);
        let (draft, room) = blocking(move || draft(&on)).await?;
        let ended = pipe.ended();
        let copy = draft.try_clone();
        let copy = copy.map_err(|e| Error::backend("cannot keep the archive", e))?;
        let heard = Audience {
            cancel: ended,
            ..audience.clone()
        };
        let exported = pipe
            .watched(self.export_to(params, (copy, Some(room)), heard))
            .await?;
        lengthy(move || pipe.send(draft, &audience.progress)).await?;
        Ok(exported)
    }

    async fn export_to(
        self: &Arc<Self>,
        params: &api::Export,
        out: Output,
        audience: Audience,
    ) -> Result<api::Exported, Error> {
        let progress = &audience.progress;
        self.settle().await;
        self.judge(Request::Export, "export")?;
        let hold = self.hold("ct export")?;
        self.judge(Request::Export, "export")?;
        let (daemon, pool) = self.home()?;
        let _gate = pool.enter()?;
        self.check_can_stop(params.live, "export")?;
        let format = format(&pool, params.format)?;
        let mut stopped = false;
        if self.state() == State::Running && !params.live {
            progress.say("stopping the container");
            self.stop_for_a_while(&daemon, USUAL, &hold).await?;
            stopped = true;
            failpoint!("export.stopped");
        }
        let snapshot = self.keep_still(&pool).await;
        let mut started = Ok(());
        // What is in a snapshot stands still, whatever the container does.
        if stopped && matches!(snapshot, Ok(Some(_))) {
            progress.say("starting the container again");
            started = self.start_again(&daemon, &hold).await;
            stopped = false;
        }
        if !stopped && (params.live || matches!(snapshot, Ok(Some(_)))) {
            hold.lend_power();
        }
        failpoint!("export.still");
        let packed = match snapshot {
            Ok(snapshot) => {
                let pack = Packing {
                    params: params.clone(),
                    format,
                    snapshot,
                };
                self.pack(&pool, pack, out, audience.clone()).await
            }
            Err(e) => Err(e),
        };
        failpoint!("export.packed");
        if stopped {
            progress.say("starting the container again");
            started = self.start_again(&daemon, &hold).await;
        }
        let packed = packed?;
        started.map_err(|e| e.hint("its archive is complete"))?;
        Ok(packed)
    }

    /// Makes a snapshot to pack its files from, where there are snapshots.
    async fn keep_still(self: &Arc<Self>, pool: &Arc<Pool>) -> Result<Option<String>, Error> {
        if pool.storage.backend() != "zfs" {
            return Ok(None);
        }
        let (this, pool) = (Arc::clone(self), Arc::clone(pool));
        blocking(move || {
            let name = temporary_snapshot("export");
            let made = pool.storage.snapshot(this.id.as_str(), &name, None);
            made.map_err(|e| {
                let cannot = format!("cannot export container {}", this.label());
                Error::backend(cannot, e)
            })?;
            Ok(Some(name))
        })
        .await
    }

    async fn pack(
        self: &Arc<Self>,
        pool: &Arc<Pool>,
        packing: Packing,
        out: Output,
        audience: Audience,
    ) -> Result<api::Exported, Error> {
        let (this, pool) = (Arc::clone(self), Arc::clone(pool));
        lengthy(move || {
            let packed = this.write_archive(&pool, &packing, out, &audience);
            if let Some(name) = &packing.snapshot
                && let Err(e) = pool.storage.destroy_snapshot(this.id.as_str(), name)
            {
                let why = crate::error::chain(&e);
                tracing::warn!(id = %this.id, name, %why, "a temporary snapshot stays");
            }
            packed.map_err(|e| e.context(format!("cannot export container {}", this.label())))
        })
        .await
    }

    /// Packs its files, or streams of its datasets; tells what is not in the archive.
    fn write_data(
        &self,
        pool: &Pool,
        (packing, below): (&Packing, &[String]),
        pack: &Pack<'_>,
        out: &mut File,
        watch: Watch<'_>,
    ) -> Result<Vec<String>, Error> {
        let packed = match &packing.snapshot {
            Some(snapshot) if packing.format == api::Format::Zfs => {
                let of = (below, snapshot.as_str(), packing.params.snapshots);
                self.pack_streams(pool, of, pack, out, watch)
            }
            snapshot => {
                let root = self.root_of(pool, snapshot.as_deref())?;
                image::pack(&root, pack, out, watch).map(|packed| packed.warnings)
            }
        };
        packed.map_err(|e| match e {
            image::Error::Cancelled => Error::cancelled("cancelled"),
            e => Error::backend("its archive can't be written", e),
        })
    }

    fn write_archive(
        &self,
        pool: &Pool,
        packing: &Packing,
        (mut out, room): Output,
        audience: &Audience,
    ) -> Result<api::Exported, Error> {
        let config = self.config();
        let datasets = pool.storage.datasets(self.id.as_str());
        let datasets = datasets.map_err(|e| Error::backend("cannot list its datasets", e))?;
        let below: Vec<String> = datasets.into_iter().filter(|d| !d.is_empty()).collect();
        if !below.is_empty() && packing.format == api::Format::Tar {
            return Err(Error::unsupported(
                "an archive of format tar has no room for the container's datasets",
            )
            .hint("export it with --format zfs"));
        }
        if packing.params.snapshots && packing.format == api::Format::Tar {
            return Err(
                Error::unsupported("an archive of format tar has no room for snapshots")
                    .hint("export the container with --format zfs, or without its snapshots"),
            );
        }
        let hooks = match packing.params.no_hooks {
            true => Vec::new(),
            false => pool.read_hooks(&self.id)?,
        };
        let described = Described::new(self, pool, &config, &packing.params)?;
        let has_room = || room.as_ref().map_or(Ok(()), Room::check);
        let (cancelled, tell) = (
            || audience.cancel.is_cancelled() || has_room().is_err(),
            audience.progress.by_mebibytes("packing its files"),
        );
        let watch = Watch::new(&cancelled, &tell);
        let configs = described.files();
        let pack = described.pack(&config, self.id.as_str(), &configs, &hooks, &packing.params);
        let what = (packing, below.as_slice());
        let warnings = audience.pace.keep(&audience.cancel, watch, |watch| {
            self.write_data(pool, what, &pack, &mut out, watch)
        });
        // What has no room is stopped as if it were cancelled.
        let warnings = match warnings {
            Err(e) if !audience.cancel.is_cancelled() => return Err(has_room().err().unwrap_or(e)),
            done => done?,
        };
        let written = out.sync_all().and_then(|()| out.stream_position());
        let size = written.map_err(|e| Error::backend("its archive can't be written", e))?;
        Ok(api::Exported { size, warnings })
    }

    /// Its files: as they are in a snapshot, or now.
    fn root_of(&self, pool: &Pool, snapshot: Option<&str>) -> Result<Root, Error> {
        let id = self.id.as_str();
        let root = match snapshot {
            Some(name) => pool.storage.open_snapshot(id, "", name),
            None => pool.storage.open_rootfs(id),
        };
        root.map_err(|e| Error::backend("cannot open its root file system", e))
    }

    fn pack_streams(
        &self,
        pool: &Pool,
        (datasets, snapshot, with_snapshots): (&[String], &str, bool),
        pack: &Pack<'_>,
        out: &mut File,
        watch: Watch<'_>,
    ) -> image::Result<Vec<String>> {
        let failed = image::Error::Storage;
        let (storage, id) = (pool.storage.as_ref(), self.id.as_str());
        let all = storage.snapshots(id).map_err(failed)?;
        let (temporary, of_user): (Vec<_>, Vec<_>) = all.iter().partition(|s| s.is_temporary());
        let mut temporary: Vec<String> = temporary.iter().map(|s| s.name.clone()).collect();
        if !with_snapshots {
            temporary = vec![snapshot.to_owned()];
        }
        // What is not compressed here is sent as it is on the disk, where it may be compressed.
        let form = match pack.compression {
            Compression::None => Form::Compact,
            _ => Form::Plain,
        };
        // The first snapshot of a dataset, which is not younger than that.
        let first = |dataset: &str| {
            let mut names = of_user.iter().map(|s| s.name.as_str());
            let has = |name: &str| storage.send_size(id, dataset, None, name, form).is_ok();
            let found = with_snapshots.then(|| names.find(|name| has(name)));
            found.flatten().unwrap_or(snapshot)
        };
        let root = String::new();
        let of = |dataset: &String| (dataset.clone(), first(dataset));
        let firsts: BTreeMap<String, &str> = [&root].into_iter().chain(datasets).map(of).collect();
        let changed = firsts.iter().filter(|(_, first)| **first != snapshot);
        let changed: Vec<String> = changed.map(|(dataset, _)| dataset.clone()).collect();
        let send = |dataset: &str, part: image::Part, out: BorrowedFd<'_>| {
            let first = firsts.get(dataset).copied().unwrap_or(snapshot);
            match part {
                image::Part::Base => storage.send(id, dataset, None, first, form, out),
                image::Part::Changes => storage.send_all(id, dataset, (first, snapshot), form, out),
            }
        };
        let sent = image::Sent {
            datasets,
            changed: &changed,
            temporary: &temporary,
            send: &send,
        };
        image::pack_streams(&sent, pack, out, watch)?;
        Ok(Vec::new())
    }
}

impl Container {
    fn data_facts(&self, pool: &Pool, with_snapshots: bool) -> Result<DataFacts, Error> {
        let failed = |e| {
            let cannot = format!("cannot look at the data of container {}", self.label());
            Error::backend(cannot, e)
        };
        let id = self.id.as_str();
        let mut facts = DataFacts::default();
        if pool.storage.backend() != "zfs" {
            let space = pool.storage.space().map_err(failed)?;
            facts.quota = space.get(id).and_then(|space| space.quota);
            return Ok(facts);
        }
        let mut all = pool.storage.dataset_space(id).map_err(failed)?;
        facts.quota = all.remove("").and_then(|space| space.quota);
        let datasets = all.into_iter();
        facts.dataset_quotas = datasets.filter_map(|(n, s)| Some((n, s.quota?))).collect();
        if with_snapshots {
            for snapshot in pool.storage.snapshots(id).map_err(failed)? {
                if let Some(part) = snapshot.schedule {
                    let of_part = facts.scheduled.entry(part).or_default();
                    of_part.push(snapshot.name);
                }
            }
        }
        Ok(facts)
    }
}

/// What an archive is written to, and the room for it when it is kept for a while only.
type Output = (File, Option<Room>);

/// What an archive is to be made of, and how.
struct Packing {
    params: api::Export,
    /// Tar or ZFS.
    format: api::Format,
    /// The snapshot that the files are taken from, where there is one.
    snapshot: Option<String>,
}

/// How the data stand in an archive of a container of this pool.
fn format(pool: &Pool, wanted: api::Format) -> Result<api::Format, Error> {
    let zfs = pool.storage.backend() == "zfs";
    match wanted {
        api::Format::Auto if zfs => Ok(api::Format::Zfs),
        api::Format::Auto => Ok(api::Format::Tar),
        api::Format::Zfs if !zfs => {
            let why = format!(
                "pool {} is a directory, of which there are no streams",
                pool.name
            );
            Err(Error::unsupported(why).hint("export the container with --format tar"))
        }
        format => Ok(format),
    }
}

/// What an archive says of a container beside its files.
struct Described {
    facts: image::Facts,
    user: Vec<u8>,
    group: Vec<u8>,
    container: Vec<u8>,
}

impl Described {
    fn new(
        container: &Container,
        pool: &Pool,
        config: &Config,
        params: &api::Export,
    ) -> Result<Described, Error> {
        let data = container.data_facts(pool, params.snapshots)?;
        let user = pool.user(&config.user).ok_or_else(|| {
            Error::state(format!("user {}:{} is missing", pool.name, config.user))
        })?;
        Ok(Described {
            facts: image::Facts::default(),
            user: user_yml(user.maps(), user.is_standalone(), &user.info(pool).attrs)?,
            group: group_yml(&pool.group_attrs(&config.group))?,
            container: container_yml(config, &data)?,
        })
    }

    fn files(&self) -> [(&str, &[u8]); 3] {
        [
            ("user.yml", &self.user),
            ("group.yml", &self.group),
            ("container.yml", &self.container),
        ]
    }

    fn pack<'a>(
        &'a self,
        config: &'a Config,
        id: &'a str,
        configs: &'a [(&'a str, &'a [u8])],
        hooks: &'a [Hook],
        params: &api::Export,
    ) -> Pack<'a> {
        Pack {
            facts: &self.facts,
            container: Some(id),
            user: Some(config.user.as_str()),
            group: Some(config.group.as_str()),
            exported_at: jiff::Timestamp::now().as_second(),
            configs,
            hooks,
            compression: match params.compression {
                api::Compression::Off => Compression::None,
                api::Compression::Gzip => Compression::Gzip(GZIP),
                api::Compression::Auto | api::Compression::Zstd => Compression::Zstd(ZSTD),
            },
        }
    }
}

/// Nothing that is in a file is ever written over.
fn check_output(out: &File) -> Result<(), Error> {
    let meta = out
        .metadata()
        .map_err(|e| Error::backend("cannot look at the archive", e))?;
    if !meta.is_file() || meta.len() > 0 {
        return Err(Error::invalid(
            "an archive is written to an empty regular file or to a pipe",
        ));
    }
    Ok(())
}
