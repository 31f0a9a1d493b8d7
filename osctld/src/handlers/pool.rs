//! Methods of pools.
