//! Making a container from an archive that osctl or vpsAdminOS has written.
//!
//! The archive is read twice (one from a pipe is kept in between): first what it says of itself, which is checked as commands are and
//! decides whether there is going to be a container at all, then its files. As with new containers
//! the configuration is written last; what a crash leaves before that is removed at the next
//! import of the pool, what it leaves undone after that is done then.

use std::fs::File;
use std::sync::Arc;

use osctl_api::archive::{self as api, MissingDevices};
use osctl_api::container::Device;
use osctl_api::names::{GroupPath, Name};

use super::copy::Audience;
use super::create;
use super::hooks::is_hook;
use super::import_data::{Source, build};
use super::launch::seccomp;
use super::pipes::Input;
use super::portable::{Given, Loaded, load_container, load_user};
use super::{Container, blocking, lengthy, plan};
use crate::daemon::Daemon;
use crate::error::Error;
use crate::failpoint;
use crate::group::{self, Parents};
use crate::image::{self, Image};
use crate::pool::Pool;
use crate::storage::{self, Along};
use crate::user;

/// What is made of an archive.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) id: Name,
    pub(super) user: User,
    /// Whether the group is to be made.
    new_group: bool,
    pub(super) loaded: Loaded,
    pub(super) head: Image,
    /// Which snapshots it keeps.
    pub(super) along: Along,
}

impl Plan {
    /// Whether its data are streams.
    pub(super) fn has_streams(&self) -> bool {
        let metadata = self.head.metadata.as_ref();
        metadata.is_some_and(image::Metadata::has_streams)
    }

    /// What was unpacked must be what was planned.
    pub(super) fn check(&self, image: &Image) -> Result<(), &'static str> {
        match image.metadata == self.head.metadata && image.container_yml == self.head.container_yml
        {
            true => Ok(()),
            false => Err("the archive changed while it was being read"),
        }
    }
}

/// The user of an imported container.
#[derive(Debug)]
pub(super) enum User {
    /// One that exists.
    Named(Name),
    /// One of its own.
    Own,
    /// That of the archive.
    Kept(Name, user::Maps),
}

/// Makes a container from the archive in `file`, a regular file or a pipe; returns also what was
/// left out.
///
/// # Errors
/// `InvalidArgument` for an archive that can't be used, `AlreadyExists`, `NotFound`, `Cancelled`;
/// then nothing is left of it.
pub async fn import(
    daemon: &Arc<Daemon>,
    pool: &Arc<Pool>,
    params: api::Import,
    file: File,
    audience: Audience,
) -> Result<(Arc<Container>, Vec<String>), Error> {
    let _gate = pool.enter()?;
    let audience = audience.within(pool);
    let (limits, on, cancel) = (
        daemon.config.image.limits(),
        Arc::clone(pool),
        audience.cancel.clone(),
    );
    let (input, head) = lengthy(move || {
        let mut input = Input::new(limits, &on, file, &cancel)?;
        let head = input.head()?;
        Ok((input, head))
    })
    .await?;
    let mut plan = plan_import(pool, &params, head)?;
    let mut staged = plan.loaded.config.clone();
    if let User::Own = plan.user {
        staged.user = plan.id.clone();
    }
    let container = create::stage(daemon, pool, &plan.id, staged).await?;
    // After it is counted among the group's containers, the group can't be deleted any more.
    if !plan.new_group && !pool.has_group(&plan.loaded.config.group) {
        create::unstage(pool, &container);
        return Err(create::no_group(pool, &plan.loaded.config.group));
    }
    let hold = container.hold("ct import")?;
    let mut warnings = std::mem::take(&mut plan.loaded.warnings);
    let made = async {
        let told = audience.progress.clone();
        let (file, limits) = lengthy(move || input.whole(&told)).await?;
        claim(daemon, pool, &container).await?;
        let user = find_user(daemon, pool, &container, &plan.user).await?;
        plan.loaded.config.user = user;
        failpoint!("import.user");
        let source = Source {
            file: Arc::new(file),
            limits,
            audience,
        };
        let config = plan.loaded.config.clone();
        let new_group = plan.new_group.then(|| config.group.clone());
        warnings.extend(build(pool, plan, source).await?);
        if let Err(error) = make_group(daemon, pool, new_group).await {
            let (pool, id) = (Arc::clone(pool), container.id.clone());
            blocking(move || take_back(&pool, &id)).await?;
            return Err(error);
        }
        Ok(config)
    }
    .await;
    if made.is_err() {
        daemon.book.release(&container.owner());
    }
    create::finish(daemon, pool, &container, hold, made).await?;
    daemon
        .update_bridge_later(&[], &container.config().netifs)
        .await;
    Ok((container, warnings))
}

pub(super) fn bad_archive(e: image::Error) -> Error {
    match e {
        image::Error::Cancelled => Error::cancelled("cancelled"),
        image::Error::Storage(e @ storage::Error::Stream { .. }) => {
            Error::invalid_with("the archive can't be used", e)
        }
        image::Error::Storage(e) => Error::backend("cannot unpack the archive", e),
        e => Error::invalid_with("the archive can't be used", e),
    }
}

/// What is to be made: decided before anything is.
fn plan_import(pool: &Pool, params: &api::Import, head: Image) -> Result<Plan, Error> {
    let metadata = head.metadata.clone().unwrap_or_default();
    if metadata.has_streams() && pool.storage.backend() != "zfs" {
        return Err(Error::unsupported(format!(
            "the archive holds streams of ZFS, and pool {} is a directory",
            pool.name
        ))
        .hint("import it to a pool of ZFS, or export the container with --format tar"));
    }
    let id = match &params.id {
        Some(id) => id.name.clone(),
        None => named(metadata.container.as_deref(), "container", "--as-id")?,
    };
    let (group, new_group) = match &params.as_group {
        Some(group) => (group.clone(), false),
        None => match metadata.group.as_deref() {
            None => (GroupPath::default_group(), false),
            Some(_) => {
                let group = named(metadata.group.as_deref(), "group", "--as-group")?;
                let exists = pool.has_group(&group);
                (group, !exists)
            }
        },
    };
    let user = match &params.as_user {
        Some(user) => User::Named(user.clone()),
        None if params.keep_user => {
            let name = named(metadata.user.as_deref(), "user", "--as-user")?;
            let maps = head.user_yml.as_deref().ok_or_else(|| {
                Error::invalid("the archive has no config/user.yml: use --as-user")
            })?;
            User::Kept(name, load_user(maps)?)
        }
        None => User::Own,
    };
    let name = match &user {
        User::Named(name) | User::Kept(name, _) => name.clone(),
        User::Own => id.clone(),
    };
    let yml = head
        .container_yml
        .as_deref()
        .ok_or_else(|| Error::invalid("the archive has no config/container.yml"))?;
    let given = Given {
        user: name,
        group,
        datasets: metadata.datasets.clone(),
        host_mounts: params.with_host_mounts,
    };
    let mut loaded = load_container(yml, given)?;
    settle_devices(&mut loaded, params.missing_devices)?;
    if params.without_netifs && !loaded.config.netifs.is_empty() {
        loaded.config.netifs.clear();
        loaded
            .warnings
            .push("network interfaces are left out".to_owned());
    }
    let mut head = head;
    settle_hooks(pool, &id, &mut head, params, &mut loaded.warnings)?;
    Ok(Plan {
        id,
        user,
        new_group,
        loaded,
        head,
        along: match params.without_snapshots {
            true => Along::Nothing,
            false => Along::Snapshots,
        },
    })
}

/// A name of the archive.
fn named<T: std::str::FromStr>(text: Option<&str>, what: &str, option: &str) -> Result<T, Error>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text =
        text.ok_or_else(|| Error::invalid(format!("the archive names no {what}: use {option}")))?;
    text.parse().map_err(|e| {
        Error::invalid_with(format!("the {what} of the archive can't be used"), e)
            .hint(format!("choose another one with {option}"))
    })
}

/// What every container has need not be given, less than that may be kept; more is access to the
/// host.
fn settle_devices(loaded: &mut Loaded, missing: MissingDevices) -> Result<(), Error> {
    let standard = plan::standard_devices();
    let devices = std::mem::take(&mut loaded.config.devices);
    let (mut common, own): (Vec<_>, Vec<_>) = devices
        .into_iter()
        .partition(|d| standard.iter().any(|s| plan::is_within(d, s)));
    let key = |d: &Device| (d.kind, d.major.clone(), d.minor.clone(), d.mode.clone());
    common.retain(|d| standard.iter().all(|s| key(s) != key(d)));
    loaded.config.devices = common;
    if own.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = own
        .iter()
        .map(|d| format!("{:?} {}:{} {}", d.kind, d.major, d.minor, d.mode).to_lowercase())
        .collect();
    let list = list.join(", ");
    match missing {
        MissingDevices::Provide => loaded.config.devices.extend(own),
        MissingDevices::Remove => loaded.warnings.push(format!("left out devices: {list}")),
        MissingDevices::Check => {
            let error = format!("the container has devices that not every container has: {list}");
            return Err(Error::invalid(error).hint(
                "give them to it with --missing-devices provide, leave them out with \
                 --missing-devices remove",
            ));
        }
    }
    Ok(())
}

/// Hooks run as root of the host: they are taken only when somebody asks for them.
fn settle_hooks(
    pool: &Pool,
    id: &Name,
    head: &mut Image,
    params: &api::Import,
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    if let Some(odd) = head.hooks.iter().find(|h| !is_hook(&h.name)) {
        return Err(Error::invalid(format!(
            "{:?} of the archive is no hook of a container",
            odd.name
        )));
    }
    if !params.with_hooks && !head.hooks.is_empty() {
        warnings.push(format!(
            "left out {} hooks, which root of the host would run: --with-hooks takes them",
            head.hooks.len()
        ));
        head.hooks.clear();
    }
    if !head.hooks.is_empty() {
        pool.check_no_hooks(id)?;
    }
    Ok(())
}

/// Takes the addresses, and checks what depends on the host.
async fn claim(
    daemon: &Arc<Daemon>,
    pool: &Arc<Pool>,
    container: &Arc<Container>,
) -> Result<(), Error> {
    let (daemon, pool, container) = (Arc::clone(daemon), Arc::clone(pool), Arc::clone(container));
    blocking(move || {
        let config = container.config();
        seccomp(&config)?;
        config.firewall.check_sets(&pool)?;
        container
            .claim_addresses(&daemon)
            .map_err(|e| e.hint("leave its network interfaces out with --without-netifs"))
    })
    .await
}

async fn find_user(
    daemon: &Arc<Daemon>,
    pool: &Arc<Pool>,
    container: &Arc<Container>,
    wanted: &User,
) -> Result<Name, Error> {
    let (name, maps) = match wanted {
        User::Named(name) => return create::existing_user(pool, name),
        User::Own => return create::own_user(daemon, pool, container).await,
        User::Kept(name, maps) => (name, maps),
    };
    match pool.user(name) {
        Some(user) if user.maps() == maps => Ok(name.clone()),
        Some(user) => Err(Error::exists(format!(
            "user {} exists already, with other ids than in the archive",
            user.label()
        ))
        .hint("choose a user with --as-user, or leave --keep-user out")),
        None => {
            let new = user::New {
                name: name.clone(),
                id_range: None,
                block_index: None,
                maps: Some(maps.clone()),
                standalone: false,
                for_container: true,
            };
            user::create(daemon, pool, new).await?;
            Ok(name.clone())
        }
    }
}

/// Undoes a container whose configuration was written.
fn take_back(pool: &Pool, id: &Name) -> Result<(), Error> {
    pool.mark_container_deleted(id)?;
    super::delete::trash(pool, id)?;
    pool.remove_hooks(id);
    pool.forget_container(id)
}

/// A group that only the archive knows is made when its container is there: until then nothing but
/// the container needs it, and the next import of the pool makes what a crash left out.
async fn make_group(
    daemon: &Arc<Daemon>,
    pool: &Arc<Pool>,
    group: Option<GroupPath>,
) -> Result<(), Error> {
    failpoint!("import.group");
    let Some(group) = group else { return Ok(()) };
    match group::create(daemon, pool, &group, Parents::Make).await {
        Err(e) if e.code() == osctl_api::Code::AlreadyExists => Ok(()),
        made => made,
    }
}
