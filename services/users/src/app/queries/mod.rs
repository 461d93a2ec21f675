//! Use cases that change nothing.

mod get_api_key;
mod get_user;
mod list_api_keys;
mod list_sessions;
mod list_users;
mod position;
mod public_keys;

pub use list_api_keys::ListApiKeys;
pub use list_sessions::ListSessions;
pub use list_users::ListUsers;
