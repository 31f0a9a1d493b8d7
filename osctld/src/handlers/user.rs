//! Methods of users.
