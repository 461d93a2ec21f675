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

    /// Whether it was misplaced because the piece is being moved ([`Error::Moving`]): then the map isn't behind, and reading it
    /// again would change nothing. False by default: who can't tell has the maps looked at each time.
    fn is_moving(&self) -> bool {
        false
    }
}

impl Misplaced for Error {
    fn is_misplaced(&self) -> bool {
        Error::is_misplaced(self)
    }

    fn is_moving(&self) -> bool {
        matches!(self, Error::Moving(_))
    }
}

impl<T: Send + Sync + 'static> Shards<T> {
    /// Runs `work` where the key lives. When it says that the map is behind, the maps are read again; then, or after a short pause
    /// when the piece is moving, it is run again, where the key lives then. It goes on so for 8 s
    /// ([`ShardTimes::route`](super::ShardTimes)).
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
            let is_moving = matches!(&result, Err(error) if error.is_moving());
            drop(result);
            if !is_moving {
                // Without an answer the map stays as it is, and so does what the next try meets.
                tokio::time::timeout_at(deadline, self.refresh_soon()).await.ok();
            }
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(LONGEST);
        }
    }
}
