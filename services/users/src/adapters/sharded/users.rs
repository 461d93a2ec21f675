//! The accounts.

use std::sync::Arc;

use async_trait::async_trait;
use meshwork_api::UserName;
use meshwork_chassis::request::RequestKey;
use meshwork_sql::{Freshness, WalPosition};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::store::{BOUND, ShardedStore};
use crate::adapters::store::USERS;
use crate::adapters::store::outcome::{Changing, Rekey};
use crate::domain::{Email, User};
use crate::ports::{
    Account, ChangeError, Creation, Decide, StoreError, UserCursor, UserFilter, UserPage, UserStore, random_name,
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

    async fn find_by_email(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        let key = email.key();
        let found = self.claimed(&key).await?;
        self.account_of(found, &key).await
    }

    async fn find_to_sign_in(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        let key = email.key();
        match self.claimed(&key).await {
            Ok(found) => self.account_of(found, &key).await,
            Err(StoreError::Unavailable(problem)) => self.search(&key, problem).await.map(Some),
            Err(error) => Err(error),
        }
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
        let deadline = Instant::now() + BOUND;
        let mut rekey = Rekey::Unchanged;
        loop {
            let changed = self.at_user(name.id(), |store, _, place| {
                let (name, decide, rekey) = (name.clone(), decide.clone(), rekey.clone());
                Box::pin(async move { store.change(place, name, decide, rekey).await })
            });
            let changed = match changed.await {
                Ok(changed) => changed,
                Err(error) => {
                    // Where it isn't known what has come of it, a new claim stays: whoever meets it finds out.
                    if let Rekey::With(claim) = &rekey
                        && error.is_without_effect()
                    {
                        self.release(claim).await;
                    }
                    return Err(error.into());
                }
            };
            fail::fail_point!("users::created", |_| Err(StoreError::Unavailable("a crash point".to_owned()).into()));
            let claim = match rekey {
                Rekey::With(claim) => Some(claim),
                Rekey::Unchanged | Rekey::Here => None,
            };
            if let Changing::Done { user, before: Some(before) } = changed {
                if let Some(claim) = &claim {
                    self.confirm(claim).await;
                }
                fail::fail_point!("users::confirmed", |_| Err(
                    StoreError::Unavailable("a crash point".to_owned()).into()
                ));
                self.release(&before).await;
                return Ok(user);
            }
            if let Some(claim) = &claim {
                // It wasn't used.
                self.release(claim).await;
                fail::fail_point!("users::released", |_| Err(
                    StoreError::Unavailable("a crash point".to_owned()).into()
                ));
            }
            let key = match (changed, claim) {
                (Changing::Done { user, .. }, _) => return Ok(user),
                (Changing::NotFound, _) => return Err(ChangeError::NotFound),
                (Changing::Refused(refused), _) => return Err(ChangeError::Refused(refused)),
                (Changing::EmailTaken, _) => return Err(ChangeError::EmailTaken),
                (Changing::Conflict, _) => return Err(ChangeError::Conflict),
                (Changing::Rekeyed(key), _) => key,
                // It was claimed too slowly.
                (Changing::Voided, Some(claim)) => claim.key,
                (Changing::Voided, None) => {
                    return Err(StoreError::damaged("a claim was declared void that isn't made").into());
                }
            };
            if Instant::now() >= deadline {
                return Err(ChangeError::Conflict);
            }
            let claim = self.claim(&key, name.id(), deadline).await?;
            fail::fail_point!("users::claimed", |_| Err(StoreError::Unavailable("a crash point".to_owned()).into()));
            rekey = Rekey::With(claim.ok_or(ChangeError::EmailTaken)?);
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
