//! The shards, and how one of them is asked.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use meshwork_sql::shards::{Place, ShardId, Shards};
use tokio::sync::Semaphore;

use crate::adapters::store::{CLAIMS, PostgresStore, USERS};
use crate::ports::StoreError;

/// For how long an attempt to change something that others are at is made again.
pub(super) const BOUND: Duration = Duration::from_secs(5);
/// How old a claim or a request is, in microseconds, that hasn't ended and is taken for one whose process has.
pub(super) const GRACE: i64 = 2_000_000;
/// How many searches for addresses may be under way in this process: each asks all shards, and anybody can have addresses looked
/// for that nobody has.
const SEARCHES: usize = 8;

/// Accounts and sessions in the databases of the shards. Clones share them.
#[derive(Clone)]
pub struct ShardedStore {
    pub(super) shards: Shards<PostgresStore>,
    /// Held by who looks for an address in all shards.
    pub(super) searches: Arc<Semaphore>,
}

impl ShardedStore {
    /// The store over these shards.
    pub fn over(shards: Shards<PostgresStore>) -> Self {
        Self { shards, searches: Arc::new(Semaphore::new(SEARCHES)) }
    }

    /// The shards.
    pub fn shards(&self) -> &Shards<PostgresStore> {
        &self.shards
    }

    /// Does something where an account is, by its id.
    pub(super) async fn at_user<'a, R: Send + 'a>(
        &self,
        id: &str,
        work: impl Fn(PostgresStore, ShardId, Place) -> BoxFuture<'a, Result<R, StoreError>> + Send + Sync,
    ) -> Result<R, StoreError> {
        self.shards.route(USERS, id, |shard, place| work(shard.part.clone(), shard.id, place)).await
    }

    /// Whether the shard of an account is in reach, as far as is known: it has answered when the maps were read last.
    pub(super) fn is_in_reach(&self, id: &str) -> bool {
        self.shards.locate(USERS, id).is_ok_and(|(shard, _)| shard.is_reached())
    }

    /// Sees that the shard of an account answers, before anything is written elsewhere that would wait for it.
    pub(super) async fn reach(&self, id: &str) -> Result<(), StoreError> {
        self.at_user(id, |store, _, place| Box::pin(async move { store.check(place).await })).await
    }

    /// Does something where an address or a request is claimed, by its key.
    pub(super) async fn at_claim<'a, R: Send + 'a>(
        &self,
        key: &str,
        work: impl Fn(PostgresStore, Place) -> BoxFuture<'a, Result<R, StoreError>> + Send + Sync,
    ) -> Result<R, StoreError> {
        self.shards.route(CLAIMS, key, |shard, place| work(shard.part.clone(), place)).await
    }
}
