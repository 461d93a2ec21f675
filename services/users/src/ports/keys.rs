//! The API keys.

use async_trait::async_trait;
use meshwork_aip::page::Page;
use meshwork_api::{ApiKeyName, UserName};
use time::OffsetDateTime;

use super::StoreError;
use crate::domain::{ApiKey, KeyDigest, User};

/// A key to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewApiKey {
    /// The key.
    pub key: ApiKey,
    /// What is kept of it.
    pub digest: KeyDigest,
}

/// What came of an attempt to make a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyCreation {
    /// It was made.
    Created,
    /// There is no such account, or it is deleted.
    NoAccount,
    /// The account has a key with the id.
    IdTaken,
    /// As many keys of the account live as may.
    TooMany,
}

/// A key that was presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentedKey {
    /// Whose it says it is, which nothing but the digest proves.
    pub user: UserName,
    /// What would be kept of it.
    pub digest: KeyDigest,
}

/// The API keys. They are read as they were written last.
#[async_trait]
pub trait ApiKeyStore: Send + Sync + 'static {
    /// Stores a new key if its account lives, has none with its id and fewer than
    /// [`MAX_LIVE_KEYS`](crate::domain::MAX_LIVE_KEYS) that live when it is made, all in one transaction; the keys of the account
    /// that ended longest ago are forgotten where there are more than [`MAX_ENDED_KEYS`](crate::domain::MAX_ENDED_KEYS).
    ///
    /// # Errors
    /// When the store fails.
    async fn create_key(&self, new: NewApiKey) -> Result<KeyCreation, StoreError>;

    /// A key by its name, one that has ended too.
    ///
    /// # Errors
    /// When the store fails.
    async fn get_key(&self, name: &ApiKeyName) -> Result<Option<ApiKey>, StoreError>;

    /// Up to `size` keys of an account, those that have ended too, in the order of their ids, from behind the id `after` on.
    ///
    /// # Errors
    /// When the store fails.
    async fn list_keys(&self, user: &UserName, size: usize, after: Option<&str>) -> Result<Page<ApiKey>, StoreError>;

    /// Revokes a key, unless it was revoked before, and returns it as it is then; `None` when there is none.
    ///
    /// # Errors
    /// When the store fails.
    async fn revoke_key(&self, name: &ApiKeyName, now: OffsetDateTime) -> Result<Option<ApiKey>, StoreError>;

    /// The key that was presented, one that has ended too, and its account, a deleted one too.
    ///
    /// # Errors
    /// When the store fails.
    async fn find_key(&self, presented: &PresentedKey) -> Result<Option<(ApiKey, User)>, StoreError>;

    /// Forgets up to `limit` keys that had ended at `before`. Returns whether there may be more.
    ///
    /// # Errors
    /// When the store fails, if only a part of it; the others are seen to all the same.
    async fn prune_keys(&self, before: OffsetDateTime, limit: u32) -> Result<bool, StoreError>;
}
