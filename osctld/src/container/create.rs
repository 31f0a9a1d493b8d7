//! Making a container.
//!
//! Order: the id is taken in memory, the user's ids are reserved, the data is built beside its
//! place and moved there, the configuration is written last. What a crash leaves behind is told
//! apart from a container by the marker in its data, and removed at the next import.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use osctl_api::container as api;
use osctl_api::container::State;
use osctl_api::names::{GroupPath, Name};

use super::config::{Config, Distribution};
use super::settings::quota;
use super::{Container, Hold, blocking, lengthy};
use crate::daemon::Daemon;
use crate::error::Error;
use crate::events::Change;
use crate::failpoint;
use crate::handlers::{Cancel, ProgressSender};
use crate::image;
use crate::pool::Pool;
use crate::storage::Watch;

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
    let cancel = cancel.or(pool.ending());
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
    let container = stage(daemon, pool, &id, placeholder).await?;
    // After it is counted among the group's containers, the group can't be deleted any more.
    if !pool.has_group(&group) {
        unstage(pool, &container);
        return Err(no_group(pool, &group));
    }
    let hold = container.hold("ct new")?;
    let made = build(daemon, pool, &container, &params, source, progress, cancel).await;
    finish(daemon, pool, &container, hold, made).await?;
    Ok(container)
}

/// That a group is missing.
pub(super) fn no_group(pool: &Pool, group: &GroupPath) -> Error {
    Error::not_found(format!("group {}:{group} does not exist", pool.name))
}

/// Takes the id of a container that is going to be made.
///
/// # Errors
/// `AlreadyExists`, also where only data or a configuration have that id: they are of a container
/// that could not be loaded.
pub(super) async fn stage(
    daemon: &Arc<Daemon>,
    pool: &Arc<Pool>,
    id: &Name,
    placeholder: Config,
) -> Result<Arc<Container>, Error> {
    let container = Container::new(daemon, pool, id.clone(), placeholder, 1, State::Staged);
    pool.add_container(&container)?;
    let (place, id) = (Arc::clone(pool), id.clone());
    let free = blocking(move || place.check_free(&id)).await;
    free.inspect_err(|_| unstage(pool, &container))?;
    Ok(container)
}

/// Frees the id of a container that was not made.
pub(super) fn unstage(pool: &Pool, container: &Container) {
    container.seen.lock().deleted = true;
    pool.remove_container(&container.id);
}

/// Makes a container of a staged one, or frees its id when it could not be made.
///
/// # Errors
/// Why it could not be made.
pub(super) async fn finish(
    daemon: &Arc<Daemon>,
    pool: &Arc<Pool>,
    container: &Arc<Container>,
    hold: Hold,
    made: Result<Config, Error>,
) -> Result<(), Error> {
    finish_held(daemon, pool, container, &hold, made).await?;
    drop(hold);
    let id = &container.id;
    daemon.events.db("container", &pool.name, id, Change::Add);
    Ok(())
}

/// The same for one that stays held; nobody is told yet.
pub(super) async fn finish_held(
    daemon: &Arc<Daemon>,
    pool: &Arc<Pool>,
    container: &Arc<Container>,
    _hold: &Hold,
    made: Result<Config, Error>,
) -> Result<(), Error> {
    // What was unpacked in vain, and images that made room for others.
    pool.empty_trash();
    match made {
        Ok(config) => {
            container.seen.lock().config = Arc::new(config);
            container.set_state(State::Stopped);
            Ok(())
        }
        Err(error) => {
            unstage(pool, container);
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
        Some(user) => existing_user(pool, user)?,
        None => own_user(daemon, pool, container).await?,
    };
    failpoint!("create.user");
    let group = container.config().group.clone();
    let (pool, id) = (Arc::clone(pool), container.id.clone());
    let params = params.clone();
    let limits = daemon.config.image.limits();
    lengthy(move || {
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
            discard(&pool, &id);
            return Err(error);
        }
        failpoint!("create.config");
        complete(&pool, &id);
        Ok(config)
    })
    .await
}

/// A user that must exist.
///
/// # Errors
/// `NotFound`.
pub(super) fn existing_user(pool: &Pool, user: &Name) -> Result<Name, Error> {
    let missing = || Error::not_found(format!("user {}:{user} does not exist", pool.name));
    pool.user(user).ok_or_else(missing)?;
    Ok(user.clone())
}

/// A user of its own for a staged container.
///
/// # Errors
/// `AlreadyExists`, `InvalidState` without free ids.
pub(super) async fn own_user(
    daemon: &Arc<Daemon>,
    pool: &Arc<Pool>,
    container: &Arc<Container>,
) -> Result<Name, Error> {
    let made = pool.create_user_for_container(daemon, &container.id).await;
    let user = made.map_err(|e| match e.code() {
        osctl_api::Code::AlreadyExists => {
            e.hint("name it as the user to be used, or choose another id")
        }
        _ => e,
    })?;
    let mut config = (*container.config()).clone();
    config.user = user.name.clone();
    container.seen.lock().config = Arc::new(config);
    Ok(user.name.clone())
}

/// Data that nothing was told about yet go the way of deleted containers.
pub(super) fn discard(pool: &Pool, id: &Name) {
    if let Err(left) = pool.storage.trash(id.as_str()) {
        tracing::error!(%id, error = %left, "cannot remove the data of a container that was not made");
    }
}

/// Makes new data permanent, whose configuration is on the disk.
pub(super) fn complete(pool: &Pool, id: &Name) {
    if let Err(error) = pool.storage.complete(id.as_str()) {
        tracing::warn!(%id, error = %crate::error::chain(&error), "new data keep their mark until the next start");
    }
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
    let (cancelled, tell) = (
        || cancel.is_cancelled(),
        progress.by_mebibytes("unpacking the image"),
    );
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
