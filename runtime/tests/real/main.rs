//! Real containers of the runtime, from the outside: the tests are its daemon.
//!
//! They need root and busybox-static and say `skipped: …` where they lack it.
#![allow(clippy::unwrap_used)]

mod basics;
mod cgroups;
mod console;
mod ends;
mod exec;
mod files;
mod harness;
mod hostile;
mod limits;
mod mounts;
