//! Methods of groups.
