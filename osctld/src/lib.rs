//! The container daemon.
