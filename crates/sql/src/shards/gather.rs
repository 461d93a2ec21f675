//! Asking all shards at once.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};

use super::cluster::{Shard, Shards};
use super::place::ShardId;

/// Why a shard has given nothing.
#[derive(Debug, thiserror::Error)]
pub enum GatherError<E> {
    /// It has not answered in time, its database can't be used, or it isn't configured in this process.
    #[error("the shard has not answered in time, its database can't be used, or it isn't configured here")]
    Unreachable,
    /// The work has failed.
    #[error("{0}")]
    Failed(E),
}

impl<T: Send + Sync + 'static> Shards<T> {
    /// Runs `work` on all shards at once, and returns what each has given, in the order of their numbers. Each has the time
    /// `within`: one that is away costs no more, and the others' answers come all the same. One that owns keys by the map and
    /// isn't configured here is among them, by its name in the map, as [`GatherError::Unreachable`].
    ///
    /// While keys move from one shard to another, a list of both may have them twice or, read from the one after and from the other
    /// before, not at all. So `work` also reads [`map_mark`](crate::dialect::postgres::map_mark) in the snapshot of its list, and
    /// the caller asks again, up to three times, while [`same_marks`] says that the answers are of different maps. What stays twice
    /// then, the caller leaves out.
    pub async fn gather<'a, R, E>(
        &self,
        within: Duration,
        work: impl Fn(Arc<Shard<T>>) -> BoxFuture<'a, Result<R, E>>,
    ) -> Vec<(ShardId, String, Result<R, GatherError<E>>)> {
        let mut asked = Vec::with_capacity(self.shards().len());
        for shard in self.shards() {
            let doing = shard.check().is_ok().then(|| work(shard.clone()));
            asked.push(ask(shard.id, shard.name.clone(), doing, within));
        }
        let mut answers = join_all(asked).await;
        // By the map as it is after the work: a key may have come to such a shard meanwhile.
        let unknown = self.unconfigured().into_iter();
        answers.extend(unknown.map(|shard| (shard.id, shard.name, Err(GatherError::Unreachable))));
        answers.sort_by_key(|(id, _, _)| *id);
        answers
    }
}

async fn ask<R, E>(
    id: ShardId,
    name: String,
    doing: Option<BoxFuture<'_, Result<R, E>>>,
    within: Duration,
) -> (ShardId, String, Result<R, GatherError<E>>) {
    let Some(doing) = doing else { return (id, name, Err(GatherError::Unreachable)) };
    let result = match tokio::time::timeout(within, doing).await {
        Ok(result) => result.map_err(GatherError::Failed),
        Err(_) => Err(GatherError::Unreachable),
    };
    (id, name, result)
}

/// Whether what several shards have answered is of one map, by the marks that came with it.
pub fn same_marks(marks: impl IntoIterator<Item = i64>) -> bool {
    let mut marks = marks.into_iter();
    let first = marks.next();
    marks.all(|mark| Some(mark) == first)
}
