//! Making a container.
//!
//! Order: the id is taken in memory, the user's ids are reserved, the data is built beside its
//! place and moved there, the configuration is written last. What a crash leaves behind is told
//! apart from a container by the marker in its data, and removed at the next import.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use osctl_api::container as api;
use osctl_api::container::State;
use osctl_api::names::{GroupPath, Name};

use super::config::{Config, Distribution};
use super::settings::quota;
use super::{Container, blocking};
use crate::daemon::Daemon;
use crate::error::Error;
use crate::events::Change;
use crate::failpoint;
use crate::handlers::{Cancel, ProgressSender};
use crate::image;
use crate::pool::Pool;
use crate::storage::Watch;

/// Bytes of an image after which progress is told again.
const PROGRESS_STEP: u64 = 1024 * 1024;

/// Makes a container.
///
/// # Errors
/// `AlreadyExists`, `NotFound` for user or group, `InvalidArgument` for an image that can't be
/// used; then nothing is left of it.
pub async fn create(
    daemon: &Arc<Daemon>,
    pool: &Arc<Pool>,
    params: api::New,
    progress: ProgressSender,
    cancel: Cancel,
) -> Result<Arc<Container>, Error> {
    let _gate = pool.enter()?;
    let id = params.id.name.clone();
    let group = params
        .group
        .clone()
        .unwrap_or_else(GroupPath::default_group);
    let source = source(&params)?;
    let placeholder = Config::new(
        params.user.clone().unwrap_or_else(|| id.clone()),
        group.clone(),
        Distribution::checked(
            "other".into(),
            "unknown".into(),
            std::env::consts::ARCH.into(),
        )?,
    );
    let container = Container::new(daemon, pool, id.clone(), placeholder, 1, State::Staged);
    pool.add_container(&container)?;
    // After it is counted among the group's containers, the group can't be deleted any more.
    if !pool.has_group(&group) {
        container.seen.lock().deleted = true;
        pool.remove_container(&id);
        return Err(Error::not_found(format!(
            "group {}:{group} does not exist",
            pool.name
        )));
    }
    let hold = container.hold("ct new")?;
    let made = build(daemon, pool, &container, &params, source, progress, cancel).await;
    // What was unpacked in vain, and images that made room for others.
    pool.empty_trash();
    match made {
        Ok(config) => {
            container.seen.lock().config = Arc::new(config);
            container.set_state(State::Stopped);
            drop(hold);
            daemon.events.db("container", &pool.name, &id, Change::Add);
            Ok(container)
        }
        Err(error) => {
            container.seen.lock().deleted = true;
            pool.remove_container(&id);
            let user = container.config().user.clone();
            if pool.user(&user).is_some_and(|u| u.is_for_container()) {
                pool.drop_user_if_unused(daemon, &user).await;
            }
            Err(error.context(format!("cannot make container {}", container.label())))
        }
    }
}

/// Where the root file system comes from.
fn source(params: &api::New) -> Result<Option<PathBuf>, Error> {
    let Some(path) = &params.from_archive else {
        return match params.skip_image {
            true => Ok(None),
            false => Err(Error::invalid("name an image, or skip it")),
        };
    };
    if !path.starts_with('/') || path.contains('\0') {
        return Err(Error::invalid(format!(
            "image {path:?} is not an absolute path"
        )));
    }
    Ok(Some(PathBuf::from(path)))
}

async fn build(
    daemon: &Arc<Daemon>,
    pool: &Arc<Pool>,
    container: &Arc<Container>,
    params: &api::New,
    source: Option<PathBuf>,
    progress: ProgressSender,
    cancel: Cancel,
) -> Result<Config, Error> {
    let user = match &params.user {
        Some(user) => {
            pool.user(user).ok_or_else(|| {
                Error::not_found(format!("user {}:{user} does not exist", pool.name))
            })?;
            user.clone()
        }
        None => {
            let made = pool.create_user_for_container(daemon, &container.id).await;
            let user = made.map_err(|e| match e.code() {
                osctl_api::Code::AlreadyExists => {
                    e.hint("use it with --user, or choose another id")
                }
                _ => e,
            })?;
            let mut config = (*container.config()).clone();
            config.user = user.name.clone();
            container.seen.lock().config = Arc::new(config);
            user.name.clone()
        }
    };
    failpoint!("create.user");
    let group = container.config().group.clone();
    let (pool, id) = (Arc::clone(pool), container.id.clone());
    let params = params.clone();
    let limits = daemon.config.image.limits();
    blocking(move || {
        let found = populate(&pool, &id, source.as_deref(), &limits, &progress, &cancel)?;
        failpoint!("create.data");
        let config = Config::new(user, group, distribution(&params, found)?);
        let bounded = match params.quota {
            Some(bytes) => quota(&pool, &id, Some(bytes)),
            None => Ok(()),
        };
        let kept = bounded
            .and_then(|()| config.check())
            .and_then(|()| pool.save_container(&id, &config, 1));
        if let Err(error) = kept {
            // Nothing was told about this data yet: it goes the way of deleted containers.
            if let Err(left) = pool.storage.trash(id.as_str()) {
                tracing::error!(%id, error = %left, "cannot remove the data of a container that was not made");
            }
            return Err(error);
        }
        failpoint!("create.config");
        if let Err(error) = pool.storage.complete(id.as_str()) {
            tracing::warn!(%id, error = %crate::error::chain(&error), "new data keep their mark until the next start");
        }
        Ok(config)
    })
    .await
}

/// Builds the data of the container.
fn populate(
    pool: &Pool,
    id: &Name,
    source: Option<&Path>,
    limits: &image::Limits,
    progress: &ProgressSender,
    cancel: &Cancel,
) -> Result<image::Facts, Error> {
    let failed = |e| Error::backend("cannot build the root file system", e);
    let Some(path) = source else {
        pool.storage
            .create(id.as_str(), &mut |_| Ok(()))
            .map_err(failed)?;
        return Ok(image::Facts::default());
    };
    let (next, cancelled) = (AtomicU64::new(0), || cancel.is_cancelled());
    let tell = |done: u64, total: Option<u64>| {
        if done >= next.load(Ordering::Relaxed) || Some(done) == total {
            next.store(done.saturating_add(PROGRESS_STEP), Ordering::Relaxed);
            progress.done("unpacking the image", done, total);
        }
    };
    let watch = Watch::new(&cancelled, &tell);
    let cache = pool.images.as_ref();
    image::create_from(
        pool.storage.as_ref(),
        cache,
        id.as_str(),
        path,
        limits,
        watch,
    )
    .map_err(|e| Error::invalid_with(format!("cannot use image {}", path.display()), e))
}

/// What runs in the container: what was said, else what the image says.
fn distribution(params: &api::New, found: image::Facts) -> Result<Distribution, Error> {
    let choose = |said: &Option<String>, found: Option<String>, default: &str| {
        said.clone().or(found).unwrap_or_else(|| default.to_owned())
    };
    Distribution::checked(
        choose(&params.distribution, found.distribution, "other"),
        choose(&params.version, found.version, "unknown"),
        choose(&params.arch, found.arch, std::env::consts::ARCH),
    )
}
