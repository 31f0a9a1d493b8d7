//! Methods of id_ranges.
