//! The data of a container that is made from an archive: files of a tarball, or streams of ZFS.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use osctl_api::names::Name;

use super::config::Config;
use super::copy::Audience;
use super::create::{complete, discard};
use super::import::{Plan, bad_archive};
use super::lengthy;
use super::settings::quota;
use crate::error::Error;
use crate::failpoint;
use crate::image::{self, Limits};
use crate::pool::Pool;
use crate::storage::{self, Along, Watch};

/// Where the files come from.
pub(super) struct Source {
    pub(super) file: Arc<File>,
    pub(super) limits: Limits,
    pub(super) audience: Audience,
}

impl Source {
    /// The archive from its beginning, and its size.
    fn rewound(&self) -> std::io::Result<(&File, u64)> {
        let mut file = &*self.file;
        let total = file.metadata()?.len();
        file.seek(SeekFrom::Start(0))?;
        Ok((file, total))
    }
}

/// Builds the data and writes the configuration; tells what could not be taken.
pub(super) async fn build(
    pool: &Arc<Pool>,
    plan: Plan,
    source: Source,
) -> Result<Vec<String>, Error> {
    let pool = Arc::clone(pool);
    lengthy(move || {
        let mut warnings = unpack(&pool, &plan, &source)?;
        failpoint!("import.data");
        let (id, config) = (&plan.id, &plan.loaded.config);
        let kept = keep(&pool, id, config, &plan, &mut warnings);
        if let Err(error) = kept {
            pool.remove_new_hooks(id);
            discard(&pool, id);
            return Err(error);
        }
        failpoint!("import.config");
        pool.accept_hooks(id);
        complete(&pool, id);
        Ok(warnings)
    })
    .await
}

fn keep(
    pool: &Pool,
    id: &Name,
    config: &Config,
    plan: &Plan,
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    for (dataset, bytes) in &plan.loaded.data.dataset_quotas {
        let set = pool
            .storage
            .set_dataset_quota(id.as_str(), dataset, Some(*bytes));
        set.map_err(|e| Error::backend(format!("cannot set the quota of dataset {dataset}"), e))?;
    }
    match plan
        .loaded
        .data
        .quota
        .map(|bytes| quota(pool, id, Some(bytes)))
    {
        Some(Err(e)) if e.code() == osctl_api::Code::Unsupported => warnings.push(e.chain()),
        Some(set) => set?,
        None => {}
    }
    pool.write_new_hooks(id, &plan.head.hooks)?;
    pool.save_container(id, config, 1)
}

fn unpack(pool: &Pool, plan: &Plan, source: &Source) -> Result<Vec<String>, Error> {
    let Audience {
        progress,
        cancel,
        pace,
    } = &source.audience;
    let (cancelled, tell) = (
        || cancel.is_cancelled(),
        progress.by_mebibytes("unpacking the archive"),
    );
    let watch = Watch::new(&cancelled, &tell);
    pace.keep(cancel, watch, |watch| make(pool, plan, source, watch))
}

fn make(pool: &Pool, plan: &Plan, source: &Source, watch: Watch<'_>) -> Result<Vec<String>, Error> {
    if plan.has_streams() {
        return receive(pool, plan, source, watch);
    }
    let mut warnings = Vec::new();
    let made = pool.storage.create(plan.id.as_str(), &mut |tree| {
        let (file, total) = source.rewound()?;
        let image = image::unpack(file, Some(total), tree, &source.limits, watch)?;
        plan.check(&image)?;
        warnings = image.warnings;
        Ok(())
    });
    made.map_err(|e| bad_archive(e.into()))?;
    Ok(warnings)
}

/// Makes the data of streams.
fn receive(
    pool: &Pool,
    plan: &Plan,
    source: &Source,
    watch: Watch<'_>,
) -> Result<Vec<String>, Error> {
    let (storage, id) = (pool.storage.as_ref(), plan.id.as_str());
    let failed = |e| Error::backend("cannot unpack the archive", e);
    if storage.exists(id).map_err(failed)? {
        return Err(failed(storage::Error::Exists(id.to_owned())));
    }
    let (file, total) = source
        .rewound()
        .map_err(|e| Error::backend("cannot read the archive", e))?;
    let take = |dataset: &str, stream: BorrowedFd<'_>| {
        storage.receive(id, dataset, stream)?;
        failpoint!("import.stream");
        Ok(())
    };
    let mut warnings = Vec::new();
    let made = image::unpack_streams(file, Some(total), &source.limits, watch, &take)
        .map_err(bad_archive)
        .and_then(|image| {
            let same = plan.check(&image);
            same.map_err(|why| Error::invalid(why.to_owned()))?;
            let odd = storage.settle(id, plan.along);
            for name in odd.map_err(|e| bad_archive(e.into()))? {
                warnings.push(format!(
                    "left out snapshot {name}, which holds what no snapshot of a container does"
                ));
            }
            let scheduled = plan.loaded.data.scheduled.iter();
            let mut scheduled = scheduled.filter(|_| plan.along == Along::Snapshots);
            let noted =
                scheduled.try_for_each(|(part, names)| storage.note_schedule(id, names, part));
            noted.map_err(|e| bad_archive(e.into()))
        });
    if made.is_err() && storage.exists(id).unwrap_or(true) {
        discard(pool, &plan.id);
    }
    made.map(|()| warnings)
}
