//! What is to be erased, of all shards.

use std::time::Duration;

use futures_util::future::BoxFuture;
use meshwork_api::UserName;
use time::OffsetDateTime;

use super::store::ShardedStore;
use crate::ports::StoreError;

/// How long one shard may take to answer.
const WITHIN: Duration = Duration::from_secs(5);

impl ShardedStore {
    /// Up to `limit` accounts of each shard that are to be erased. A shard that is away keeps the others' from nothing.
    pub(super) async fn gather_erasable(
        &self,
        before: OffsetDateTime,
        limit: usize,
    ) -> Result<Vec<UserName>, StoreError> {
        let gathered = self.shards.gather(WITHIN, |shard| -> BoxFuture<'static, Result<Vec<UserName>, StoreError>> {
            let store = shard.part.clone();
            Box::pin(async move { store.erasable(before, limit).await })
        });
        let (mut names, mut failed) = (Vec::new(), Vec::new());
        for (_, name, found) in gathered.await {
            match found {
                Ok(found) => names.extend(found),
                Err(error) => failed.push(format!("shard {name}: {error}")),
            }
        }
        // Those that are found have their turn first: the next round tells of what fails.
        if names.is_empty() && !failed.is_empty() {
            return Err(StoreError::Unavailable(failed.join("; ")));
        }
        Ok(names)
    }
}
