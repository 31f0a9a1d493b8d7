//! The container daemon.

pub mod address_set;
pub mod assets;
pub mod attrs;
pub mod autostart;
pub mod blocking;
pub mod cgroup;
pub mod config;
pub mod container;
pub mod daemon;
pub mod error;
pub mod events;
pub mod failpoint;
pub mod group;
pub mod guest;
pub mod handlers;
pub mod id_range;
pub mod image;
pub mod network;
pub mod pool;
pub mod security;
pub mod server;
pub mod storage;
pub mod store;
pub mod supervisor;
pub mod sync;
pub mod user;
