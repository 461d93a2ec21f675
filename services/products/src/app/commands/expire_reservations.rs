//! Lets held pieces go whose orders were not confirmed in time.

use futures_util::StreamExt;
use futures_util::stream;

use crate::app::App;
use crate::ports::StoreError;

/// How many reservations one sweep takes at most.
pub const BATCH: usize = 1000;
/// How many of them expire at once. Each is a transaction of its own.
const CONCURRENCY: usize = 8;

/// What a sweep has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many reservations have expired.
    pub expired: usize,
    /// Whether there may be more.
    pub more: bool,
}

impl App {
    /// Expires reservations whose time is over, [`BATCH`] at most.
    ///
    /// # Errors
    /// The first failure of the store; those that have expired stay so.
    pub async fn expire_reservations(&self) -> Result<Swept, StoreError> {
        let due = self.inventory.due(BATCH).await?;
        let more = due.len() >= BATCH;
        let mut outcomes = stream::iter(due)
            .map(|order| async move {
                fail::fail_point!("sweep::due");
                self.inventory.expire(order).await
            })
            .buffer_unordered(CONCURRENCY);
        let mut swept = Swept { expired: 0, more };
        let mut failure = None;
        while let Some(outcome) = outcomes.next().await {
            match outcome {
                Ok(expired) => {
                    fail::fail_point!("sweep::expired");
                    swept.expired += usize::from(expired);
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(swept), Err)
    }
}
