//! Use cases that change something.

mod create_user;
mod delete_user;
mod erase_accounts;
mod exchange_foreign;
mod exchange_token;
mod prune_sessions;
mod refresh_session;
mod renew_keys;
mod revoke_session;
mod seed_accounts;
mod sign_in;
mod sign_out;
mod update_user;

pub use create_user::CreateUser;
pub use delete_user::DeleteUser;
pub use exchange_token::ExchangedToken;
pub use renew_keys::KeyRenewals;
pub use sign_in::{SignIn, Tokens};
pub use update_user::{Reauthentication, UpdateUser};
