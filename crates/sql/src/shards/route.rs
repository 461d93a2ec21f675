//! Calls go to where their keys live, also while those move.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::cluster::{Shard, Shards};
use super::place::Place;
use crate::Error;

/// The first pause before a call is routed again, shortened at random by up to a half; each is twice the one before.
const PAUSE: Duration = Duration::from_millis(10);
/// The longest one.
const LONGEST: Duration = Duration::from_millis(50);

/// The error of routed work.
pub trait Misplaced: From<Error> {
    /// Whether the keys weren't owned, or not to be written, where they were looked for ([`Error::is_misplaced`]). Then nothing
    /// was done.
    fn is_misplaced(&self) -> bool;
}

impl Misplaced for Error {
    fn is_misplaced(&self) -> bool {
        Error::is_misplaced(self)
    }
}

impl<T: Send + Sync + 'static> Shards<T> {
    /// Runs `work` where the key lives. When it says that the map is behind or the piece is moving, the maps are read again and it
    /// is run again, where the key lives then; it waits so for 5 s ([`ShardTimes::route`](super::ShardTimes)).
    ///
    /// # Errors
    /// What `work` returns, also that it was misplaced when the time is over; what [`Shards::locate`] returns.
    pub async fn route<'a, R, E>(
        &self,
        space: i16,
        key: &str,
        work: impl Fn(Arc<Shard<T>>, Place) -> BoxFuture<'a, Result<R, E>>,
    ) -> Result<R, E>
    where
        E: Misplaced,
    {
        let deadline = Instant::now() + self.inner.times.route;
        let mut pause = PAUSE;
        loop {
            let (shard, place) = self.locate(space, key).map_err(E::from)?;
            let doing = work(shard, place);
            let result = doing.await;
            let is_misplaced = matches!(&result, Err(error) if error.is_misplaced());
            if !is_misplaced || Instant::now() + pause >= deadline {
                return result;
            }
            drop(result);
            // Without an answer the map stays as it is, and so does what the next try meets.
            tokio::time::timeout_at(deadline, self.refresh_soon()).await.ok();
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(LONGEST);
        }
    }
}
