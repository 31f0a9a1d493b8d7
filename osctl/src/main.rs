//! The container daemon.
fn main() {}
