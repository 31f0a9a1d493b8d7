//! `osctl pool`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, Write};
use std::path::PathBuf;

use osctl_api::Method;
use osctl_api::names::{AttrName, Name};
use osctl_api::pool;
use rustix::fs::MemfdFlags;

use super::tables;
use crate::cli::absolute;
use crate::context::{Context, to_value};
use crate::failure::{Failure, Outcome};
use crate::list::{ListOptions, ShowOptions, View};
use crate::tree::Verb;
use crate::ui::prompt;

/// Make a dataset of ZFS, or a directory, a pool and import it
///
/// Unless a directory is given, the pool is the pool of ZFS of the same name, or a dataset in it. A
/// directory is created when it is missing and is made accessible to root only. A default id
/// range is made on it. The pool comes back by itself whenever the daemon starts.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Install {
    #[command(flatten)]
    params: pool::Install,
    #[command(flatten)]
    key: KeyOptions,
}

impl Verb for Install {
    fn run(mut self, cx: &mut Context) -> Outcome {
        self.params.dir = self.params.dir.as_deref().map(absolute).transpose()?;
        let object = self.key.call(cx, &self.params)?;
        cx.object(&object)
    }
}

/// Take an installed pool into use
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Import {
    #[command(flatten)]
    params: pool::Import,
    #[command(flatten)]
    key: KeyOptions,
}

impl Verb for Import {
    fn run(self, cx: &mut Context) -> Outcome {
        if self.params.all && self.key.is_given() {
            return Err(Failure::usage("a key is of one pool: name it"));
        }
        let object = self.key.call(cx, &self.params)?;
        cx.object(&object)
    }
}

/// Where the key of an encrypted dataset comes from.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct KeyOptions {
    /// Read the key of the encrypted dataset from a file
    #[arg(long, value_name = "FILE", conflicts_with = "ask_key")]
    key_file: Option<PathBuf>,
    /// Ask for the pass phrase of the encrypted dataset
    ///
    /// It is read from standard input when that is no terminal.
    #[arg(long)]
    ask_key: bool,
}

impl KeyOptions {
    fn is_given(&self) -> bool {
        self.ask_key || self.key_file.is_some()
    }

    fn call<M: Method>(&self, cx: &mut Context, params: &M) -> Result<M::Reply, Failure> {
        match self.file()? {
            Some(file) => Ok(cx.daemon.call_fds(params, &[file])?.reply),
            None => cx.daemon.call(params),
        }
    }

    /// The key as a file.
    fn file(&self) -> Result<Option<File>, Failure> {
        if let Some(path) = &self.key_file {
            let file = File::open(path);
            let cannot = || format!("cannot open {}", path.display());
            return file.map(Some).map_err(|e| Failure::local(cannot(), &e));
        }
        if !self.ask_key {
            return Ok(None);
        }
        let none = || Failure::usage("no key was given");
        let key = prompt::secret("Key: ")?.filter(|key| !key.is_empty());
        let mut line = key.ok_or_else(none)?;
        line.push('\n');
        // In memory only, and nobody else's.
        let cannot = |e: std::io::Error| Failure::local("cannot keep the key", &e);
        let flags = MemfdFlags::CLOEXEC;
        let file = rustix::fs::memfd_create("key", flags).map_err(|e| cannot(e.into()))?;
        let mut file = File::from(file);
        let written = file.write_all(line.as_bytes());
        written.and_then(|()| file.rewind()).map_err(cannot)?;
        Ok(Some(file))
    }
}

impl Verb for pool::Export {
    fn run(self, cx: &mut Context) -> Outcome {
        cx.progress_done(&self)
    }
}

/// List imported pools
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Ls {
    #[command(flatten)]
    params: pool::List,
    #[command(flatten)]
    list: ListOptions,
}

impl Verb for Ls {
    fn run(mut self, cx: &mut Context) -> Outcome {
        let view = View::list(&tables::POOL, &self.list)?;
        if let Some(outcome) = view.names(cx) {
            return outcome;
        }
        if self.params.pools.is_empty() {
            self.params.pools.extend(cx.pool.clone());
        }
        let reply = cx.daemon.call(&self.params)?;
        let rows = reply.pools.iter().map(to_value).collect::<Result<_, _>>()?;
        view.print_list(cx, rows)
    }
}

/// Show one pool
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Show {
    #[command(flatten)]
    params: pool::Show,
    #[command(flatten)]
    show: ShowOptions,
}

impl Verb for Show {
    fn run(self, cx: &mut Context) -> Outcome {
        let view = View::show(&tables::POOL, &self.show)?;
        if let Some(outcome) = view.names(cx) {
            return outcome;
        }
        let pool = cx.daemon.call(&self.params)?;
        view.print_one(cx, &to_value(&pool)?)
    }
}

/// List the containers that wait to be started
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Queue {
    #[command(flatten)]
    params: pool::AutostartQueue,
    #[command(flatten)]
    show: ShowOptions,
}

impl Verb for Queue {
    fn run(self, cx: &mut Context) -> Outcome {
        View::show(&tables::QUEUE, &self.show)?
            .tell(cx, |cx| Ok(cx.daemon.call(&self.params)?.containers))
    }
}

fn nothing(pool: Name) -> pool::Set {
    pool::Set {
        pool,
        parallel_start: None,
        parallel_stop: None,
        attrs: BTreeMap::new(),
    }
}

fn unset_nothing(pool: Name) -> pool::Unset {
    pool::Unset {
        pool,
        parallel_start: false,
        parallel_stop: false,
        attrs: Vec::new(),
    }
}

/// Set how many containers autostart starts at the same time
#[derive(Debug, clap::Args)]
pub struct SetParallelStart {
    /// Name of the pool
    pool: Name,
    /// How many, at least 1
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
}

impl Verb for SetParallelStart {
    fn run(self, cx: &mut Context) -> Outcome {
        cx.done(&pool::Set {
            parallel_start: Some(self.count),
            ..nothing(self.pool)
        })
    }
}

/// Set how many containers are stopped at the same time
#[derive(Debug, clap::Args)]
pub struct SetParallelStop {
    /// Name of the pool
    pool: Name,
    /// How many, at least 1
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
}

impl Verb for SetParallelStop {
    fn run(self, cx: &mut Context) -> Outcome {
        cx.done(&pool::Set {
            parallel_stop: Some(self.count),
            ..nothing(self.pool)
        })
    }
}

/// Set a user attribute of a pool
#[derive(Debug, clap::Args)]
pub struct SetAttr {
    /// Name of the pool
    pool: Name,
    /// Name of the attribute, vendor:key
    attribute: AttrName,
    /// Value
    value: String,
}

impl Verb for SetAttr {
    fn run(self, cx: &mut Context) -> Outcome {
        cx.done(&pool::Set {
            attrs: BTreeMap::from([(self.attribute, self.value)]),
            ..nothing(self.pool)
        })
    }
}

/// Return the number of containers that are started at the same time to its default
#[derive(Debug, clap::Args)]
pub struct UnsetParallelStart {
    /// Name of the pool
    pool: Name,
}

impl Verb for UnsetParallelStart {
    fn run(self, cx: &mut Context) -> Outcome {
        cx.done(&pool::Unset {
            parallel_start: true,
            ..unset_nothing(self.pool)
        })
    }
}

/// Return the number of containers that are stopped at the same time to its default
#[derive(Debug, clap::Args)]
pub struct UnsetParallelStop {
    /// Name of the pool
    pool: Name,
}

impl Verb for UnsetParallelStop {
    fn run(self, cx: &mut Context) -> Outcome {
        cx.done(&pool::Unset {
            parallel_stop: true,
            ..unset_nothing(self.pool)
        })
    }
}

/// Remove a user attribute of a pool
#[derive(Debug, clap::Args)]
pub struct UnsetAttr {
    /// Name of the pool
    pool: Name,
    /// Name of the attribute
    attribute: AttrName,
}

impl Verb for UnsetAttr {
    fn run(self, cx: &mut Context) -> Outcome {
        cx.done(&pool::Unset {
            attrs: vec![self.attribute],
            ..unset_nothing(self.pool)
        })
    }
}
