//! The API keys: each lies where its account does.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use meshwork_aip::page::Page;
use meshwork_api::{ApiKeyName, UserName};
use time::OffsetDateTime;

use super::store::ShardedStore;
use crate::adapters::convert::key_bytes;
use crate::domain::{ApiKey, User};
use crate::ports::{ApiKeyStore, KeyCreation, NewApiKey, PresentedKey, StoreError};

/// How long one shard may take to forget what ended long ago.
const PRUNE: Duration = Duration::from_secs(30);

#[async_trait]
impl ApiKeyStore for ShardedStore {
    async fn create_key(&self, new: NewApiKey) -> Result<KeyCreation, StoreError> {
        let created = self.at_user(new.key.name.user().id(), |store, _, place| {
            let new = new.clone();
            Box::pin(async move { store.create_key(place, new).await })
        });
        created.await
    }

    async fn get_key(&self, name: &ApiKeyName) -> Result<Option<ApiKey>, StoreError> {
        let key = self.at_user(name.user().id(), |store, _, place| {
            let name = name.clone();
            Box::pin(async move { store.key(place, name).await })
        });
        key.await
    }

    async fn list_keys(&self, user: &UserName, size: usize, after: Option<&str>) -> Result<Page<ApiKey>, StoreError> {
        let limit = size.saturating_add(1);
        let keys = self.at_user(user.id(), |store, _, place| {
            let (user, after) = (user.clone(), after.unwrap_or_default().to_owned());
            Box::pin(async move { store.keys_of(place, user, limit, after).await })
        });
        Ok(Page::cut(keys.await?, size, |key| key.name.id().to_owned(), key_bytes))
    }

    async fn revoke_key(&self, name: &ApiKeyName, now: OffsetDateTime) -> Result<Option<ApiKey>, StoreError> {
        let revoked = self.at_user(name.user().id(), |store, _, place| {
            let name = name.clone();
            Box::pin(async move { store.revoke_key_at(place, name, now).await })
        });
        revoked.await
    }

    async fn find_key(&self, presented: &PresentedKey) -> Result<Option<(ApiKey, User)>, StoreError> {
        let digest = presented.digest;
        let found = self.at_user(presented.user.id(), |store, _, place| {
            Box::pin(async move { store.find_key_at(place, digest).await })
        });
        found.await
    }

    async fn prune_keys(&self, before: OffsetDateTime, limit: u32) -> Result<bool, StoreError> {
        let pruned = self.shards.gather(PRUNE, |shard| -> BoxFuture<'static, Result<bool, StoreError>> {
            let store = shard.part.clone();
            Box::pin(async move { store.prune_ended_keys(before, limit).await })
        });
        let (mut more, mut failed) = (false, Vec::new());
        for (_, name, pruned) in pruned.await {
            match pruned {
                Ok(full) => more |= full,
                Err(error) => failed.push(format!("shard {name}: {error}")),
            }
        }
        // Where there is more to be done, it is done first: the next round tells of those that fail.
        if more || failed.is_empty() { Ok(more) } else { Err(StoreError::Unavailable(failed.join("; "))) }
    }
}
