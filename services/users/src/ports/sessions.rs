//! The sessions.

use async_trait::async_trait;
use meshwork_aip::page::Page;
use meshwork_api::{SessionName, UserName};
use time::OffsetDateTime;
use uuid::Uuid;

use super::StoreError;
use crate::domain::{PasswordHash, Repeat, Session, TokenDigest, TokenSalt, User};

/// A session to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// Its id.
    pub id: Uuid,
    /// When it is opened.
    pub create_time: OffsetDateTime,
    /// Whose it is.
    pub user: UserName,
    /// The hash that the password was held against.
    pub verified: PasswordHash,
    /// Its first refresh token.
    pub token: NewToken,
}

/// A refresh token to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// What is kept of it.
    pub digest: TokenDigest,
    /// When it ceases to be good.
    pub expire_time: OffsetDateTime,
    /// How the token before it may give it again; `None` where that can't, and where there is none before it.
    pub repeat: Option<Repeat>,
}

/// A session that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveSession {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user: User,
}

/// A refresh token that was presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentedToken {
    /// Whose it says it is, which nothing but the digest proves. `None` for those of earlier releases, which don't say.
    pub user: Option<UserName>,
    /// What would be kept of it.
    pub digest: TokenDigest,
}

/// The token that has followed upon one that came again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Successor {
    /// What is kept of it.
    pub digest: TokenDigest,
    /// The salt by which it follows.
    pub salt: TokenSalt,
    /// When it ceases to be good.
    pub expire_time: OffsetDateTime,
}

/// What came of a refresh token that was presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It is used up, and the next one is good.
    Renewed(ActiveSession),
    /// It was used up a moment ago, by this one that follows from it by a salt, is unused, and is good still: nothing was
    /// changed, and what would have come next was not stored.
    Repeated(ActiveSession, Successor),
    /// It is not known, or its session has ended.
    Unknown,
    /// It has expired.
    Expired,
    /// It came before, and its session was ended because of that. The session was this account's.
    Reused(User),
}

/// The sessions.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Opens a session if the account lives and still has the password that was verified, in one transaction. So no
    /// session outlives a change of the password that came between the two.
    ///
    /// Returns whether it was opened.
    ///
    /// # Errors
    /// When the store fails.
    async fn open(&self, session: NewSession) -> Result<bool, StoreError>;

    /// Uses a token up and puts the next in its place, in one transaction. Of racing calls with one token, the first is
    /// answered with [`Renewal::Renewed`]; the others with [`Renewal::Repeated`], if the first one's next token may be
    /// given again and is unused, else the second ends the session.
    ///
    /// # Errors
    /// When the store fails.
    async fn renew(
        &self,
        presented: PresentedToken,
        next: NewToken,
        now: OffsetDateTime,
    ) -> Result<Renewal, StoreError>;

    /// Ends the session of a token, a used one too. An unknown token changes nothing.
    ///
    /// # Errors
    /// When the store fails.
    async fn end(&self, presented: PresentedToken) -> Result<(), StoreError>;

    /// Up to `size` sessions of an account that have not expired at `now`, in the order of their ids, from behind the id
    /// `after` on.
    ///
    /// # Errors
    /// When the store fails.
    async fn list_sessions(
        &self,
        user: &UserName,
        size: usize,
        after: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<Page<Session>, StoreError>;

    /// Ends a session by its name. One that isn't there, or is another account's, changes nothing.
    ///
    /// # Errors
    /// When the store fails.
    async fn revoke_session(&self, name: &SessionName) -> Result<(), StoreError>;

    /// Drops up to `limit` sessions and up to `limit` tokens that had expired at `now`, and as much of what else has had its
    /// time. Returns whether there may be more.
    ///
    /// # Errors
    /// When the store fails, if only a part of it; the others are seen to all the same.
    async fn prune(&self, now: OffsetDateTime, limit: u32) -> Result<bool, StoreError>;
}
