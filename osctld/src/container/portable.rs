//! Configuration as it stands in archives: vpsAdminOS's files, so that either reads what the other
//! has written. What vpsAdminOS has no word for is kept under a key of ours. Pure.

mod load;
mod save;
mod yml;

#[cfg(test)]
mod tests;

pub use load::{Given, Loaded, load_container, load_user};
pub use save::{DataFacts, container_yml, group_yml, user_yml};
