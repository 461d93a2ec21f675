//! Where calls come from, how often somebody may try, and the hashing of what they try.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use meshwork_chassis::config::Secret;

use crate::domain::{Email, PasswordHash, Role};

/// Whom a password waits with for its turn to be hashed: lanes come round one after the other, so that a crowd in one holds up
/// nobody in another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The services' own accounts, which have a place of their own.
    Service,
    /// Who calls from this address, as [`Origin`] has it.
    Address(Arc<str>),
}

/// Where a call comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The address that its caller counts for: of IPv6 the /64, all of which one caller commands.
    pub address: Arc<str>,
    /// Whether it comes from within the back end, not from a caller of the gateway: a service's own call.
    pub is_internal: bool,
}

impl Origin {
    /// The lane of its address.
    pub fn lane(&self) -> Lane {
        Lane::Address(self.address.clone())
    }

    /// The lane of a sign-in to an account of this role. An account of a service whose name somebody calls out at the gateway
    /// gets nobody into the services' lane.
    pub fn lane_of(&self, role: Option<Role>) -> Lane {
        if self.is_internal && role == Some(Role::Service) { Lane::Service } else { self.lane() }
    }
}

/// Too many attempts were made; nothing was done for this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many attempts; the next is admitted in {} ms", .retry_after.as_millis())]
pub struct TooManyAttempts {
    /// When the next is admitted.
    pub retry_after: Duration,
}

/// How often somebody may try to sign in, to exchange keys and tokens, and to sign up. It is the same for e-mail addresses that have
/// an account and those that have none.
#[async_trait]
pub trait AttemptLimits: Send + Sync + 'static {
    /// Counts an attempt to sign in, by a caller at an address.
    ///
    /// # Errors
    /// When there were too many by that address, or too many wrong passwords for the account.
    async fn sign_in(&self, email: &Email, address: &str) -> Result<(), TooManyAttempts>;

    /// Takes back that an attempt which was counted has been a guess: the password was right, or was not looked at.
    async fn no_guess(&self, email: &Email, address: &str);

    /// Counts an attempt to exchange a key or a token, by a caller at an address, as an attempt to sign in.
    ///
    /// # Errors
    /// When there were too many attempts by that address.
    async fn exchange(&self, address: &str) -> Result<(), TooManyAttempts>;

    /// Takes back that an attempt to exchange something was made: it was right, or was not looked at.
    async fn exchanged(&self, address: &str);

    /// Counts an attempt to take an e-mail address, which tells whether it is taken.
    ///
    /// # Errors
    /// When there were too many by that address.
    async fn sign_up(&self, address: &str) -> Result<(), TooManyAttempts>;
}

/// Why a password was not hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// Too many others are being hashed.
    #[error("too many passwords are being hashed at this moment")]
    Busy,
    /// The hash function has failed.
    #[error("a password can't be hashed: {0}")]
    Failed(String),
}

/// Hashes passwords, slowly on purpose and few at a time, the lanes in turn.
#[async_trait]
pub trait PasswordHasher: Send + Sync + 'static {
    /// The hash of a password, with a new salt.
    ///
    /// # Errors
    /// When too many others are being hashed, or the hash function fails.
    async fn hash(&self, password: &Secret, lane: &Lane) -> Result<PasswordHash, HashError>;

    /// Whether the password is the one of the hash. Without a hash the answer is no, after the same time: how long an
    /// answer takes doesn't tell whether there is an account.
    ///
    /// # Errors
    /// As [`PasswordHasher::hash`].
    async fn verify(&self, password: &Secret, hash: Option<&PasswordHash>, lane: &Lane) -> Result<bool, HashError>;
}
