//! Freezing and thawing all processes of a container.

use std::{path::Path, time::Duration};

use super::{
    Error, Node, Result, Tree,
    events::{self, Deadline},
    file,
    tree::want_container,
};

/// How often the v1 freezer is asked, which has no event for this.
const V1_INTERVAL: Duration = Duration::from_millis(5);

impl Tree {
    /// Freezes a container and waits until all of its processes stand still. If that takes
    /// longer than `limit`, the container runs on and the call fails.
    pub fn freeze(&self, node: &Node, limit: Duration) -> Result<()> {
        let reached = self.change_frozen(node, true, Deadline::after(limit));
        if reached.is_err() {
            // Half frozen is neither of the states that callers know.
            if let Err(error) = self.change_frozen(node, false, Deadline::after(limit)) {
                tracing::warn!(%node, ?error, "cannot thaw after a failed freeze");
            }
        }
        reached
    }

    /// Lets a frozen container run on.
    pub fn thaw(&self, node: &Node, limit: Duration) -> Result<()> {
        self.change_frozen(node, false, Deadline::after(limit))
    }

    /// Whether all processes of a container are frozen.
    pub fn is_frozen(&self, node: &Node) -> Result<bool> {
        want_container(node)?;
        if let Some(dir) = self.v2_path(node) {
            let text = file::read(&dir.join("cgroup.events"))?;
            return Ok(events::field(&text, "frozen") == Some("1"));
        }
        let dir = self.freezer(node)?;
        Ok(file::read(&dir.join("freezer.state"))?.trim() == "FROZEN")
    }

    fn change_frozen(&self, node: &Node, frozen: bool, deadline: Deadline) -> Result<()> {
        want_container(node)?;
        let (number, state) = if frozen {
            ("1", "frozen")
        } else {
            ("0", "thawed")
        };
        let reached = match self.v2_path(node) {
            Some(dir) => {
                file::write(&dir.join("cgroup.freeze"), number)?;
                events::wait(&dir, "frozen", number, deadline)?
            }
            None => {
                let word = if frozen { "FROZEN" } else { "THAWED" };
                v1_change(&self.freezer(node)?.join("freezer.state"), word, deadline)?
            }
        };
        if reached {
            return Ok(());
        }
        Err(Error::Timeout {
            node: node.clone(),
            state,
            limit: deadline.limit,
        })
    }

    fn freezer(&self, node: &Node) -> Result<std::path::PathBuf> {
        let dir = self.v1_path("freezer", node);
        dir.ok_or(Error::Unsupported("freezing"))
    }
}

/// Writes the state again until it holds: the v1 freezer may stay at `FREEZING` when a process
/// forks at the wrong moment.
fn v1_change(path: &Path, word: &str, deadline: Deadline) -> Result<bool> {
    loop {
        file::write(path, word)?;
        if file::read(path)?.trim() == word {
            return Ok(true);
        }
        if deadline.passed() {
            return Ok(false);
        }
        let pause = V1_INTERVAL.min(deadline.left());
        events::poll_for(&mut [], pause).map_err(|e| file::failed("watch".into(), path, e))?;
    }
}
