//! Use cases that change nothing.

mod get_user;
mod list_sessions;
mod list_users;
mod position;
mod public_keys;

pub use list_sessions::ListSessions;
pub use list_users::ListUsers;
