//! The runtime of one container.
fn main() {}
