//! What a pool does for its containers: the list of them, their state files and their logs.

use std::path::PathBuf;
use std::sync::Arc;

use nix::errno::Errno;
use osctl_api::names::Name;
use osctl_linux::beneath::{Mounts, Root, Symlinks};

use super::Container;
use super::config::Config;
use crate::error::{Error, Result};
use crate::pool::{Pool, State};
use crate::store::{self, Document, Stored};

impl Document for Config {
    const KIND: &'static str = "container";
    const VERSION: u32 = 1;
}

impl Pool {
    /// All containers, by id.
    pub fn containers(&self) -> Vec<Arc<Container>> {
        self.containers.read().values().cloned().collect()
    }

    /// Adds a container, which takes its id.
    ///
    /// # Errors
    /// `AlreadyExists` when the id is taken.
    pub(super) fn add_container(&self, container: &Arc<Container>) -> Result<()> {
        if self.condemned.has(&container.id) {
            return Err(Error::exists(format!(
                "container {} is deleted, but its data are not yet",
                container.label()
            ))
            .hint("they are as soon as the pool answers, and nothing uses them"));
        }
        let mut containers = self.containers.write();
        if containers.contains_key(&container.id) {
            return Err(Error::exists(format!(
                "container {} exists already",
                container.label()
            )));
        }
        containers.insert(container.id.clone(), Arc::clone(container));
        Ok(())
    }

    /// Refuses an id that something on the disk has. Blocks.
    ///
    /// # Errors
    /// `AlreadyExists`.
    pub(super) fn check_free(&self, id: &Name) -> Result<()> {
        let taken = |what: &str| {
            Error::exists(format!(
                "there is {what} of a container {}:{id}, which is not loaded",
                self.name
            ))
            .hint("`osctl pool show` tells why; choose another id")
        };
        match self.conf.containers.check_free(id.as_str()) {
            Err(store::Error::Exists(_)) => return Err(taken("a configuration")),
            free => free.map_err(|e| Error::backend(format!("cannot look for {id}"), e))?,
        }
        match self.storage.exists(id.as_str()) {
            Ok(true) => Err(taken("data")),
            Ok(false) => Ok(()),
            Err(e) => Err(Error::backend(format!("cannot look for data of {id}"), e)),
        }
    }

    /// Removes a container, which frees its id.
    pub(super) fn remove_container(&self, id: &Name) {
        self.containers.write().remove(id);
    }

    /// Whether containers may be started on it.
    pub fn is_active(&self) -> bool {
        self.state() == State::Active
    }

    /// Writes the configuration of a container. Blocks.
    pub(super) fn save_container(&self, id: &Name, config: &Config, generation: u64) -> Result<()> {
        let mut stored = Stored {
            generation: generation.saturating_sub(1),
            value: config.clone(),
        };
        self.conf
            .containers
            .save(id.as_str(), &mut stored)
            .map_err(|e| {
                Error::backend(
                    format!(
                        "cannot write the configuration of container {}:{id}",
                        self.name
                    ),
                    e,
                )
            })
    }

    /// Marks the configuration of a container: it is being deleted. Blocks.
    pub(super) fn mark_container_deleted(&self, id: &Name) -> Result<()> {
        // A deletion that is tried again has its mark already.
        if matches!(self.conf.containers.load(id.as_str()), Ok(None)) {
            return Ok(());
        }
        self.conf
            .containers
            .mark_deleting(id.as_str())
            .map_err(|e| {
                Error::backend(
                    format!("cannot mark container {}:{id} as deleted", self.name),
                    e,
                )
            })
    }

    /// Whether the configuration of a container is marked, as far as that can be told. Blocks.
    pub(super) fn is_container_marked(&self, id: &Name) -> bool {
        let marked = self.conf.containers.is_deleting(id.as_str());
        marked.unwrap_or(true)
    }

    /// Takes the mark off the configuration of a container. Blocks.
    pub(super) fn unmark_container(&self, id: &Name) -> Result<()> {
        let unmarked = self.conf.containers.unmark_deleting(id.as_str());
        unmarked.map_err(|e| {
            let cannot = format!("cannot keep container {}:{id}", self.name);
            Error::backend(cannot, e)
        })
    }

    /// Removes the marked configuration of a container. Blocks.
    pub(super) fn forget_container(&self, id: &Name) -> Result<()> {
        let failed = |e| {
            Error::backend(
                format!(
                    "cannot remove the configuration of container {}:{id}",
                    self.name
                ),
                e,
            )
        };
        self.conf.containers.forget(id.as_str()).map_err(failed)
    }

    /// Log of a container's console.
    pub fn container_log(&self, id: &Name) -> PathBuf {
        self.path.join("log/ct").join(format!("{id}.log"))
    }

    /// The log and what is remembered of the network follow their container; what can't is left behind.
    pub(super) fn rename_container_log(&self, old: &Name, new: &Name) {
        self.rename_net_state(old, new);
        let logs = self.path.join("log/ct");
        let moved = Root::open_tree(&logs, Symlinks::Refuse, Mounts::Refuse)
            .and_then(|logs| logs.rename(format!("{old}.log"), format!("{new}.log")));
        match moved {
            Err(e) if e.errno() != Errno::ENOENT => {
                tracing::warn!(%old, %new, error = %e, "cannot rename the log of a container");
            }
            _ => {}
        }
    }

    /// The log and what is remembered of the network go with their container.
    pub(super) fn remove_container_log(&self, id: &Name) {
        self.remove_net_state(id);
        let removed = std::fs::remove_file(self.container_log(id));
        if let Err(e) = removed.or_else(absent_is_fine) {
            tracing::warn!(%id, error = %e, "cannot remove the log of a container");
        }
    }
}

fn absent_is_fine(e: std::io::Error) -> std::io::Result<()> {
    if e.kind() == std::io::ErrorKind::NotFound {
        Ok(())
    } else {
        Err(e)
    }
}
