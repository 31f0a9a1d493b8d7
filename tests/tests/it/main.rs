//! Tests of the whole: a daemon, its containers, and what they must withstand.
//!
//! Each test has a host of its own and leaves nothing behind; what it needs and is not there
//! makes it print `skipped: …` and pass.

#![allow(clippy::unwrap_used)]

mod archives;
mod attackers;
mod basics;
mod boot;
mod broken_state;
mod copies;
mod crash;
mod entering;
mod exports;
mod firewall_config;
mod guest_network;
mod guest_paths;
mod guest_paths_network;
mod inits;
mod interrupts;
mod io_limits;
mod lxcfs;
mod many;
mod mounts;
mod names;
mod netif_config;
mod network;
mod network_bridge;
mod network_bridge_config;
mod network_firewall;
mod network_floods;
mod network_live;
mod network_rates;
mod pipes;
mod restart;
mod settings;
mod snapshots;
mod stopping;
mod unfinished;
mod while_read;
mod wire;
