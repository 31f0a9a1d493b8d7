//! An id range: blocks of host ids from which id maps are allocated.

/// An id range.
#[derive(Debug)]
pub struct IdRange {}
