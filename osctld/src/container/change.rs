//! Changing what a container can't change while it runs: its id, user and group.

use std::sync::Arc;

use osctl_api::names::{GroupPath, Name};

use super::verdict::Request;
use super::{Container, blocking};
use crate::error::Error;
use crate::events::Change;
use crate::failpoint;

impl Container {
    /// Gives it another id.
    ///
    /// The configuration keeps the new id from the first step on, so that a crash in the middle is
    /// finished, or undone, at the next import.
    ///
    /// # Errors
    /// `InvalidState`, `AlreadyExists`, `Backend`.
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
        let generation = self.seen.lock().generation;
        let config = (*self.config()).clone();
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
        let done = {
            let (pool, old, new) = (Arc::clone(&pool), self.id.clone(), new.clone());
            blocking(move || {
                let mut marked = config.clone();
                marked.moving_to = Some(new.clone());
                pool.save_container(&old, &marked, generation + 1)?;
                failpoint!("rename.marked");
                let renamed = pool.storage.rename(old.as_str(), new.as_str());
                if let Err(e) = renamed {
                    pool.save_container(&old, &config, generation + 1)?;
                    return Err(Error::backend(
                        format!("cannot rename the data of {old}"),
                        e,
                    ));
                }
                failpoint!("rename.data");
                pool.save_container(&new, &config, generation + 1)?;
                failpoint!("rename.config");
                pool.rename_hooks(&old, &new);
                pool.rename_container_log(&old, &new);
                pool.mark_container_deleted(&old)?;
                pool.forget_container(&old)
            })
            .await
        };
        if done.is_ok() {
            daemon.book.rename(&self.owner(), &moved.owner());
            self.forget_firewall(&daemon);
            self.forget_profile(&daemon);
        }
        if let Err(error) = done {
            moved.seen.lock().deleted = true;
            pool.remove_container(new);
            return Err(error.context(format!("cannot rename container {}", self.label())));
        }
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
