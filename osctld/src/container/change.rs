//! Changing what a container can't change while it runs: its id, user and group.

use std::sync::Arc;

use osctl_api::names::{GroupPath, Name};

use super::config::Config;
use super::verdict::Request;
use super::{Container, blocking};
use crate::error::Error;
use crate::events::Change;
use crate::failpoint;
use crate::pool::Pool;

/// Whose the id is that a container is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// The container's that is being renamed.
    ByIt,
    /// Perhaps another one's: the renaming is over.
    Perhaps,
}

impl Container {
    /// Gives it another id.
    ///
    /// The configuration keeps the new id from the first step on, so that a crash in the middle is
    /// finished, or undone, at the next import.
    ///
    /// # Errors
    /// `InvalidState`, `AlreadyExists`; `Backend`: then it is as it was, or in state error when that
    /// could not be.
    pub async fn rename(self: &Arc<Self>, new: &Name) -> Result<Arc<Container>, Error> {
        self.settle().await;
        self.judge(Request::Rebuild, "rename")?;
        let hold = self.hold("ct mv")?;
        self.judge(Request::Rebuild, "rename")?;
        if *new == self.id {
            return Err(Error::exists(format!(
                "container {} has that id already",
                self.label()
            )));
        }
        let (daemon, pool) = self.home()?;
        let _gate = pool.enter()?;
        self.check_settled()?;
        let generation = self.seen.lock().generation;
        let mut config = (*self.config()).clone();
        config.moving_to = None;
        let moved = Container::new(
            &daemon,
            &pool,
            new.clone(),
            config.clone(),
            generation + 1,
            self.state(),
        );
        pool.add_container(&moved)?;
        let moved_hold = moved.hold("ct mv")?;
        if let Err(error) = self.carry_over(&pool, new, config, generation + 1).await {
            moved.seen.lock().deleted = true;
            pool.remove_container(new);
            return Err(error.context(format!("cannot rename container {}", self.label())));
        }
        daemon.book.rename(&self.owner(), &moved.owner());
        self.forget_firewall(&daemon);
        self.forget_profile(&daemon);
        self.seen.lock().deleted = true;
        pool.remove_container(&self.id);
        daemon.update_bridge_later(&self.config().netifs, &[]).await;
        drop((hold, moved_hold));
        // Whoever waits for a state of it learns that it is no more.
        self.state.send_replace(self.state());
        daemon
            .events
            .db("container", &pool.name, &self.id, Change::Remove);
        daemon.events.db("container", &pool.name, new, Change::Add);
        Ok(moved)
    }

    /// Gives what it has on its pool to another id, or nothing of it.
    async fn carry_over(
        &self,
        pool: &Arc<Pool>,
        new: &Name,
        config: Config,
        generation: u64,
    ) -> Result<(), Error> {
        let mut marked = config.clone();
        marked.moving_to = Some(new.clone());
        let marked = Arc::new(marked);
        {
            let (pool, old, new) = (Arc::clone(pool), self.id.clone(), new.clone());
            let marked = Arc::clone(&marked);
            blocking(move || {
                pool.check_free(&new)?;
                pool.save_container(&old, &marked, generation)
            })
            .await?;
        }
        failpoint!("rename.marked");
        {
            // Until it is done, or undone, this is what its configuration says.
            let mut seen = self.seen.lock();
            seen.generation = generation;
            seen.config = marked;
        }
        let carried = {
            let (pool, old, new) = (Arc::clone(pool), self.id.clone(), new.clone());
            blocking(move || {
                let renamed = pool.storage.rename(old.as_str(), new.as_str());
                renamed
                    .map_err(|e| Error::backend(format!("cannot rename the data of {old}"), e))?;
                failpoint!("rename.data");
                pool.save_container(&new, &config, generation)
            })
            .await
        };
        if let Err(error) = carried {
            if let Err(left) = self.undo_rename(Taken::ByIt).await {
                self.fail(&left);
            }
            return Err(error);
        }
        failpoint!("rename.config");
        let (pool, old, new) = (Arc::clone(pool), self.id.clone(), new.clone());
        blocking(move || {
            pool.rename_hooks(&old, &new);
            pool.rename_container_log(&old, &new);
            let forgotten = pool.mark_container_deleted(&old);
            if let Err(e) = forgotten.and_then(|()| pool.forget_container(&old)) {
                // The next import does it.
                pool.add_problem(format!("container {old}"), e.chain());
            }
            Ok(())
        })
        .await
    }

    /// Returns to its id what was given to another one by a renaming that could not be done to its
    /// end. Once the other id is free, another container may have it, of which nothing is touched.
    ///
    /// # Errors
    /// `Backend`: then that can be tried again.
    pub(super) async fn undo_rename(&self, new_id: Taken) -> Result<(), Error> {
        let mut config = (*self.config()).clone();
        let Some(new) = config.moving_to.take() else {
            return Ok(());
        };
        let (_daemon, pool) = self.home()?;
        let (old, config) = (self.id.clone(), Arc::new(config));
        let generation = self.seen.lock().generation + 1;
        let kept = Arc::clone(&config);
        blocking(move || {
            let failed = |e| Error::backend(format!("the data of {old} are those of {new}"), e);
            if new_id == Taken::ByIt || pool.container(&new).is_none() {
                // It may have been written although that failed.
                pool.mark_container_deleted(&new)?;
                pool.forget_container(&new)?;
                let storage = &pool.storage;
                let there = |id: &Name| storage.exists(id.as_str()).map_err(failed);
                if there(&new)? && !there(&old)? {
                    storage.rename(new.as_str(), old.as_str()).map_err(failed)?;
                }
            }
            pool.save_container(&old, &kept, generation)
        })
        .await?;
        let mut seen = self.seen.lock();
        seen.generation = generation;
        seen.config = config;
        Ok(())
    }

    /// Gives it to another user. Ids on disk are those of the container, so no file is touched.
    ///
    /// # Errors
    /// `InvalidState`, `NotFound`.
    pub async fn chown(self: &Arc<Self>, user: &Name) -> Result<(), Error> {
        self.settle().await;
        self.judge(Request::Rebuild, "chown")?;
        let _hold = self.hold("ct chown")?;
        self.judge(Request::Rebuild, "chown")?;
        let (daemon, pool) = self.home()?;
        let _gate = pool.enter()?;
        self.check_stays()?;
        if pool.user(user).is_none() {
            return Err(Error::not_found(format!(
                "user {}:{user} does not exist",
                pool.name
            )));
        }
        let (before, _) = self
            .reconfigure(|c| {
                c.user = user.clone();
                Ok(())
            })
            .await?;
        failpoint!("chown.config");
        pool.drop_user_if_unused(&daemon, &before.user).await;
        Ok(())
    }

    /// Moves it to another group.
    ///
    /// # Errors
    /// `InvalidState`, `NotFound`.
    pub async fn chgrp(self: &Arc<Self>, group: &GroupPath) -> Result<(), Error> {
        self.settle().await;
        self.judge(Request::Rebuild, "chgrp")?;
        let _hold = self.hold("ct chgrp")?;
        self.judge(Request::Rebuild, "chgrp")?;
        let (_daemon, pool) = self.home()?;
        let _gate = pool.enter()?;
        if !pool.has_group(group) {
            return Err(Error::not_found(format!(
                "group {}:{group} does not exist",
                pool.name
            )));
        }
        self.reconfigure(|c| {
            c.group = group.clone();
            Ok(())
        })
        .await
        .map(drop)
    }
}

/// A rename that was interrupted is finished when the data was moved, else undone.
pub(super) fn finish_renames(pool: &Pool, configs: &mut Vec<(Name, Config, u64)>) {
    let renaming: Vec<(Name, Name)> = configs
        .iter()
        .filter_map(|(id, c, _)| c.moving_to.clone().map(|new| (id.clone(), new)))
        .collect();
    for (old, new) in renaming {
        let Some(at) = configs.iter().position(|(id, ..)| *id == old) else {
            continue;
        };
        let mut config = configs[at].1.clone();
        config.moving_to = None;
        let generation = configs[at].2 + 1;
        let there = |id: &Name| pool.storage.exists(id.as_str());
        let moved = match (there(&new), there(&old)) {
            (Ok(new), Ok(old)) => new && !old,
            (Err(e), _) | (_, Err(e)) => {
                // Without its data it is in state error.
                pool.add_problem(format!("container {old}"), crate::error::chain(&e));
                continue;
            }
        };
        let target = if moved { &new } else { &old };
        // The one of the new id was written later, and may have been changed since.
        let written = moved && configs.iter().any(|(id, ..)| *id == new);
        let mut done = match written {
            true => Ok(()),
            false => pool.save_container(target, &config, generation),
        };
        if moved && done.is_ok() {
            pool.rename_hooks(&old, &new);
            pool.rename_container_log(&old, &new);
            done = pool
                .mark_container_deleted(&old)
                .and_then(|()| pool.forget_container(&old));
        }
        if let Err(e) = done {
            let why = format!("cannot finish its renaming to {new}: {}", e.chain());
            pool.add_problem(format!("container {old}"), why);
        }
        configs.retain(|(id, ..)| *id != old);
        if !written {
            configs.push((target.clone(), config, generation));
        }
    }
}
