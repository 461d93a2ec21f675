//! The accounts.

use std::sync::Arc;

use async_trait::async_trait;
use meshwork_api::UserName;
use meshwork_chassis::request::RequestKey;
use meshwork_sql::{Freshness, WalPosition};
use time::OffsetDateTime;

use super::store::ShardedStore;
use crate::adapters::store::USERS;
use crate::domain::{Email, User};
use crate::ports::{
    Account, ChangeError, Creation, Decide, KeyRenewal, StoreError, UserCursor, UserFilter, UserPage, UserStore,
    random_name,
};

/// How many ids are drawn at most for one that lies in a shard in reach.
const DRAWS: u32 = 32;

#[async_trait]
impl UserStore for ShardedStore {
    fn new_name(&self) -> Result<UserName, StoreError> {
        let mut name = random_name()?;
        for _ in 1..DRAWS {
            if self.is_in_reach(name.id()) {
                break;
            }
            name = random_name()?;
        }
        Ok(name)
    }

    async fn find_creation(&self, request: &RequestKey) -> Result<Option<Creation>, StoreError> {
        self.creation_of(request).await
    }

    async fn create(&self, account: Account, request: Option<RequestKey>) -> Result<Creation, StoreError> {
        self.make(account, request).await
    }

    async fn get(&self, name: &UserName, freshness: Freshness) -> Result<Option<User>, StoreError> {
        let user = self.at_user(name.id(), |store, shard, place| {
            let (name, freshness) = (name.clone(), freshness.at_shard(shard));
            Box::pin(async move {
                match store.get(place, name.clone(), freshness).await {
                    // A replica may not have heard yet that the account has come here; the primary knows.
                    Err(StoreError::Misplaced(_)) if freshness != Freshness::Latest => {
                        store.get(place, name, Freshness::Latest).await
                    }
                    user => user,
                }
            })
        });
        user.await
    }

    async fn find_account(&self, name: &UserName) -> Result<Option<Account>, StoreError> {
        let account = self.at_user(name.id(), |store, _, place| {
            let name = name.clone();
            Box::pin(async move { store.account(place, name).await })
        });
        account.await
    }

    async fn find_by_email(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        for key in email.lookup_keys() {
            let found = self.claimed(&key).await?;
            if let Some(account) = self.account_of(found, &key).await? {
                return Ok(Some(account));
            }
        }
        Ok(None)
    }

    async fn find_to_sign_in(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        let mut unknown = None;
        for key in email.lookup_keys() {
            let found = match self.claimed(&key).await {
                Ok(found) => self.account_of(found, &key).await,
                Err(StoreError::Unavailable(problem)) => self.search(&key, problem).await.map(Some),
                Err(error) => Err(error),
            };
            match found {
                Ok(Some(account)) => return Ok(Some(account)),
                Ok(None) => {}
                // Hardly any account is kept by another key than the last: one that is away keeps nobody else from signing in.
                Err(error @ StoreError::Unavailable(_)) => unknown = Some(error),
                Err(error) => return Err(error),
            }
        }
        unknown.map_or(Ok(None), Err)
    }

    async fn list(
        &self,
        filter: &UserFilter,
        size: usize,
        after: Option<&UserCursor>,
        freshness: Freshness,
    ) -> Result<UserPage, StoreError> {
        self.page(filter, size, after, freshness).await
    }

    async fn change(&self, name: &UserName, decide: Decide) -> Result<User, ChangeError> {
        let decide = Arc::new(decide);
        let changed = self.rekeyed(name, |store, place, rekey| {
            let (name, decide) = (name.clone(), decide.clone());
            Box::pin(async move { store.change(place, name, decide, rekey).await })
        });
        changed.await.map(|(user, _)| user)
    }

    async fn renew_key(&self, name: &UserName) -> Result<KeyRenewal, StoreError> {
        let renewed = self.rekeyed(name, |store, place, rekey| {
            let name = name.clone();
            Box::pin(async move { store.renew_key(place, name, rekey).await })
        });
        match renewed.await {
            Ok((_, true)) => Ok(KeyRenewal::Renewed),
            Ok((_, false)) | Err(ChangeError::NotFound) => Ok(KeyRenewal::Current),
            Err(ChangeError::EmailTaken) => Ok(KeyRenewal::Taken),
            Err(ChangeError::Conflict) => Err(StoreError::Conflict(format!("{name} is being changed by others"))),
            Err(ChangeError::Refused(refused)) => Err(StoreError::damaged(refused)),
            Err(ChangeError::Store(error)) => Err(error),
        }
    }

    async fn erasable(&self, before: OffsetDateTime, limit: usize) -> Result<Vec<UserName>, StoreError> {
        self.gather_erasable(before, limit).await
    }

    fn part(&self, name: &UserName) -> usize {
        // By the map alone: a shard that is away has its part all the same.
        let located = self.shards.map().locate(USERS, name.id());
        let at = located.and_then(|at| self.shards.shards().iter().position(|shard| shard.id == at.shard));
        at.unwrap_or_default()
    }

    async fn position(&self, name: &UserName) -> Option<WalPosition> {
        match self.shards.locate(USERS, name.id()) {
            // Not to be compared with those of where the account has been: their servers may be copies of one folder.
            Ok((shard, _)) => shard.part.position().await.map(|position| position.of_shard(shard.id)),
            // The primary will know.
            Err(_) => Some(WalPosition::UNKNOWN),
        }
    }
}
