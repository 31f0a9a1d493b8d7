//! AppArmor: a profile for each container, what of it is loaded, and what it refused.
//!
//! On a host whose kernel has AppArmor nothing runs in a container without its profile. Setting the
//! label is the runtime's work; this makes sure that the kernel knows what is set.

mod cache;
mod denial;
mod glob;
mod kernel;
mod log;
pub mod profile;

use std::io;
use std::path::PathBuf;

pub use denial::Denial;
pub use log::{Log, Noted};
pub use profile::Nesting;

use cache::Cache;

/// What keeps a container from its profile.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel's interface is not there.
    #[error("the kernel has AppArmor, but securityfs is not mounted at /sys/kernel/security")]
    NotMounted,
    /// The parser is not there.
    #[error("the kernel has AppArmor, but apparmor_parser is not installed")]
    NoParser,
    /// The parser can't be run.
    #[error("cannot run apparmor_parser")]
    Parser(#[source] io::Error),
    /// The parser says no.
    #[error("apparmor_parser refuses the profile: {0}")]
    Refused(String),
    /// The directory of compiled profiles can't be used.
    #[error("cannot keep compiled AppArmor profiles in {}", .0.display())]
    Cache(PathBuf, #[source] io::Error),
    /// The kernel says no.
    #[error("the kernel refuses the AppArmor profile {0}")]
    Load(String, #[source] io::Error),
    /// The kernel makes no namespace.
    #[error("cannot make the AppArmor namespace {0}")]
    Namespace(String, #[source] io::Error),
    /// The kernel removes nothing.
    #[error("cannot remove the AppArmor profile {0}")]
    Remove(String, #[source] io::Error),
    /// The kernel does not tell what is loaded.
    #[error("cannot list AppArmor profiles")]
    List(#[source] io::Error),
}

type Result<T, E = Error> = std::result::Result<T, E>;

/// AppArmor on this host, as far as the containers of one daemon go.
#[derive(Debug)]
pub struct AppArmor {
    /// Tells apart the daemons of a host.
    root: String,
    cache: Cache,
    active: bool,
    /// What was refused.
    pub log: Log,
}

impl AppArmor {
    /// Looks at the host; nothing is confined where `wanted` is false. `root` is the daemon's part
    /// of the names of profiles, `dir` where compiled ones are kept.
    pub fn new(root: &str, dir: PathBuf, wanted: bool) -> AppArmor {
        AppArmor {
            root: root.to_owned(),
            cache: Cache::new(dir),
            active: wanted && kernel::is_ours(),
            log: Log::default(),
        }
    }

    /// Whether containers are confined.
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// What the names of all profiles of this daemon begin with.
    pub fn root(&self) -> String {
        format!("{}.", self.root)
    }

    /// The name of a container's profile.
    pub fn name(&self, pool: &str, id: &str) -> String {
        profile::name(&self.root, pool, id)
    }

    /// Loads the profile of a container and returns the label that its processes are to have; none
    /// on a host without AppArmor.
    ///
    /// # Errors
    /// Whatever keeps it from being loaded: then the container must not run.
    pub fn confine(&self, pool: &str, id: &str, nesting: Nesting) -> Result<Option<String>> {
        if !self.active {
            return Ok(None);
        }
        if !kernel::is_mounted() {
            return Err(Error::NotMounted);
        }
        let name = self.name(pool, id);
        let text = profile::text(&name, nesting);
        if kernel::load(&self.cache.compiled(&name, &text)?).is_err() {
            // What was kept may have been damaged.
            self.cache.forget(&name)?;
            let compiled = self.cache.compiled(&name, &text)?;
            kernel::load(&compiled).map_err(|e| Error::Load(name.clone(), e))?;
        }
        if nesting == Nesting::Yes {
            kernel::ensure_namespace(&name)?;
        }
        Ok(Some(profile::label(&name, nesting)))
    }

    /// Takes the profile of a container from the kernel, and its namespace. Nothing of the container
    /// may run any more: it would be unconfined.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn release(&self, pool: &str, id: &str) -> Result<()> {
        if !self.active || !kernel::is_mounted() {
            return Ok(());
        }
        kernel::remove(&self.name(pool, id))
    }

    /// Forgets a container that is no more.
    ///
    /// # Errors
    /// When the compiled profile can't be removed.
    pub fn forget(&self, pool: &str, id: &str) -> Result<()> {
        let name = self.name(pool, id);
        self.log.forget(&name);
        self.cache.forget(&name)
    }

    /// Takes all profiles of a pool from the kernel but those of containers that `runs`, and
    /// forgets those of containers that are not `is_known`.
    ///
    /// # Errors
    /// When the kernel refuses, or a compiled profile can't be removed.
    pub fn sweep(
        &self,
        pool: &str,
        runs: impl Fn(&str) -> bool,
        is_known: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let prefix = profile::prefix(&self.root, pool);
        self.cache.sweep(&prefix, is_known)?;
        if !self.active || !kernel::is_mounted() {
            return Ok(());
        }
        for name in kernel::loaded(&prefix)? {
            if !runs(&name[prefix.len()..]) {
                kernel::remove(&name)?;
            }
        }
        Ok(())
    }
}
