//! What accounts, sessions and keys are, and their rules. Pure: no clock, no dice, no I/O.

mod api_key;
mod display_name;
mod email;
mod erasure;
mod first_accounts;
mod foreign;
mod password;
mod role;
mod session;
mod user;

pub use api_key::{
    ApiKey, InvalidExpiry, InvalidScope, KEEP_ENDED_KEYS, KeyDigest, MAX_ENDED_KEYS, MAX_LIVE_KEYS, MAX_SCOPES, Scope,
};
pub use display_name::{DisplayName, InvalidDisplayName};
pub use email::{Email, InvalidEmail};
pub use erasure::StandIn;
pub use first_accounts::{FirstAccount, first_accounts, is_reserved_email, is_reserved_id};
pub use foreign::{MAX_SUBJECT, foreign_email, foreign_name, is_foreign_email, is_foreign_id};
pub use password::{InvalidPassword, MAX_PASSWORD, MIN_PASSWORD, PasswordHash, check_password, normalize_password};
pub use role::{Role, UnknownRole};
pub use session::{Presented, RefreshToken, Repeat, Session, TokenDigest, TokenSalt};
pub use user::{Change, Changed, Field, NewUser, User, UserError, UserEvent};
