//! Changes that may give an address another key: the claim, the account, the confirmation, and the old claim let go.

use futures_util::future::BoxFuture;
use meshwork_api::UserName;
use meshwork_sql::shards::Place;
use tokio::time::Instant;

use super::store::{BOUND, ShardedStore};
use crate::adapters::store::PostgresStore;
use crate::adapters::store::outcome::{Changing, Rekey};
use crate::domain::User;
use crate::ports::{ChangeError, StoreError};

impl ShardedStore {
    /// Makes attempts at a change of an account, each with what it may do about the key of the address, until one is carried through.
    /// Returns the account, and whether it has its address by another claim now.
    pub(super) async fn rekeyed(
        &self,
        name: &UserName,
        attempt: impl Fn(PostgresStore, Place, Rekey) -> BoxFuture<'static, Result<Changing, StoreError>> + Send + Sync,
    ) -> Result<(User, bool), ChangeError> {
        let deadline = Instant::now() + BOUND;
        let mut rekey = Rekey::Unchanged;
        loop {
            let changed = self.at_user(name.id(), |store, _, place| attempt(store, place, rekey.clone()));
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
                Rekey::Unchanged | Rekey::Here | Rekey::Own(_) => None,
            };
            if let Changing::Done { user, before: Some(before) } = changed {
                if let Some(claim) = &claim {
                    self.confirm(claim).await;
                }
                fail::fail_point!("users::confirmed", |_| Err(
                    StoreError::Unavailable("a crash point".to_owned()).into()
                ));
                self.release(&before).await;
                return Ok((user, true));
            }
            if let Some(claim) = &claim {
                // It wasn't used.
                self.release(claim).await;
                fail::fail_point!("users::released", |_| Err(
                    StoreError::Unavailable("a crash point".to_owned()).into()
                ));
            }
            let key = match (changed, claim) {
                (Changing::Done { user, .. }, _) => return Ok((user, false)),
                (Changing::NotFound, _) => return Err(ChangeError::NotFound),
                (Changing::Refused(refused), _) => return Err(ChangeError::Refused(refused)),
                (Changing::EmailTaken, _) => return Err(ChangeError::EmailTaken),
                (Changing::Conflict, _) => return Err(ChangeError::Conflict),
                (Changing::Rekeyed { key, erases }, _) => {
                    if let Some(old) = erases {
                        self.unconfirm(&old).await?;
                    }
                    key
                }
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
            rekey = claim.ok_or(ChangeError::EmailTaken)?;
        }
    }
}
