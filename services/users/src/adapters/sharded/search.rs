//! Who signs in while the shard of their address is away: looked for in the others.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::store::ShardedStore;
use crate::adapters::store::CLAIMS;
use crate::ports::{Account, StoreError};

/// How long one shard may take to answer.
const WITHIN: Duration = Duration::from_secs(1);

impl ShardedStore {
    /// The living account that has this address by its own word, which counts: it could not have it without its claim. `problem`
    /// is why that could not be asked, and the error when no account is found: it may be where nobody answers.
    pub(super) async fn search(&self, key: &str, problem: String) -> Result<Account, StoreError> {
        let Ok(_permit) = self.searches.try_acquire() else { return Err(StoreError::Unavailable(problem)) };
        let away = self.shards.map().locate(CLAIMS, key).map(|located| located.shard);
        let gathered = self.shards.gather(WITHIN, |shard| -> BoxFuture<'static, Result<Option<Account>, StoreError>> {
            if Some(shard.id) == away || !shard.is_reached() {
                return Box::pin(async { Ok(None) });
            }
            let (store, key) = (shard.part.clone(), key.to_owned());
            Box::pin(async move { store.search(key).await })
        });
        let mut found: Option<Account> = None;
        for (_, name, searched) in gathered.await {
            let account = match searched {
                Ok(Some(account)) => account,
                Ok(None) => continue,
                Err(error) => {
                    tracing::debug!(shard = name, %error, "a search for an address lacks a shard");
                    continue;
                }
            };
            match found.as_ref().map(|other| (other.user.name == account.user.name, other.user.version)) {
                // The address has gone from one to the other meanwhile.
                Some((false, _)) => return Err(StoreError::Unavailable(problem)),
                // It has moved from one shard to another meanwhile.
                Some((true, version)) if version >= account.user.version => {}
                _ => found = Some(account),
            }
        }
        found.ok_or(StoreError::Unavailable(problem))
    }
}
