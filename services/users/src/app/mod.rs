//! The use cases, a file each: commands change something, queries don't.

mod api_key;
pub mod commands;
mod error;
pub mod queries;
mod refresh_token;

use std::sync::Arc;
use std::time::Duration;

pub use error::AppError;
pub use refresh_token::SuccessorKeys;

use crate::ports::{
    AddressHasher, ApiKeyStore, AttemptLimits, Clock, CredentialsFile, ForeignTokens, PasswordHasher, SessionStore,
    TokenIssuer, UserStore,
};

/// How long tokens live.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// An access token, which nothing can take back before its end.
    pub access_token: Duration,
    /// A refresh token, and with its last one the session.
    pub refresh_token: Duration,
    /// For how long a refresh token that was used gives the same next one again; zero for not at all.
    pub refresh_repeat: Duration,
}

/// The use cases over their ports.
pub struct App {
    /// The accounts.
    pub users: Arc<dyn UserStore>,
    /// The sessions.
    pub sessions: Arc<dyn SessionStore>,
    /// The API keys.
    pub keys: Arc<dyn ApiKeyStore>,
    /// How often somebody may try to sign in, to exchange keys and tokens, and to sign up.
    pub limits: Arc<dyn AttemptLimits>,
    /// What hashes passwords.
    pub hasher: Arc<dyn PasswordHasher>,
    /// What signs access tokens.
    pub tokens: Arc<dyn TokenIssuer>,
    /// What leads from a refresh token to the next.
    pub successors: SuccessorKeys,
    /// Where credentials of first accounts are filed.
    pub credentials: Arc<dyn CredentialsFile>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How long tokens live.
    pub lifetimes: Lifetimes,
    /// What hashes addresses that are erased.
    pub addresses: Arc<dyn AddressHasher>,
    /// What verifies tokens of other issuers.
    pub foreign: Arc<dyn ForeignTokens>,
    /// How long after its deletion what is personal of an account is erased.
    pub erase_after: Duration,
}

/// An answer, and whether it was given before to the same request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// The answer.
    pub value: T,
    /// Whether it was given before.
    pub replayed: bool,
}
