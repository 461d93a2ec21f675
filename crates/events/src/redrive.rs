//! Redriving: parked events are handed over again, in the order of their aggregate.

use std::sync::Arc;

use meshwork_sql::Error;
use uuid::Uuid;

use crate::dead_letters::DeadLetter;
use crate::deliverer::{Asks, Delivered, Deliverer};
use crate::state::ConsumerState;

/// How many events of one aggregate are handled in one go.
const EVENTS: u64 = 10_000;
/// How many aggregates are looked at in one step of all.
const PAGE: usize = 256;

/// What a redrive has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redriven {
    /// How many parked events were handled.
    pub handled: u64,
    /// The first event of the aggregate that is still parked, and why; `None` when nothing of it is.
    pub left: Option<DeadLetter>,
}

/// Hands a consumer's parked events over again. Clones share it.
#[derive(Clone)]
pub struct Redriver(pub(crate) Arc<Deliverer>);

impl Redriver {
    /// The consumer's database, with the parked events.
    pub fn state(&self) -> &Arc<dyn ConsumerState> {
        &self.0.state
    }

    /// Hands the parked events of an aggregate over, from the first one on, until one can't be handled.
    ///
    /// # Errors
    /// When the store of the parked events fails.
    pub async fn redrive(&self, subject: &str) -> Result<Redriven, Error> {
        self.redrive_aggregate(subject, Asks::Always).await
    }

    async fn redrive_aggregate(&self, subject: &str, asks: Asks) -> Result<Redriven, Error> {
        let mut handled = 0;
        while let Some(letter) = self.0.state.first_of(subject).await? {
            if handled >= EVENTS {
                return Ok(Redriven { handled, left: Some(letter) });
            }
            match self.0.deliver(&letter.stream, &letter.event, asks).await? {
                Delivered::Done => {
                    // A gate has done it already, in the transaction of the effect.
                    self.0.state.remove(subject, letter.event.version).await?;
                    tracing::info!(event = letter.event.id, "a parked event has been handled");
                    handled += 1;
                }
                Delivered::Parked(_) => {
                    return Ok(Redriven { handled, left: self.0.state.first_of(subject).await? });
                }
                Delivered::Later(reason) => {
                    return Ok(Redriven { handled, left: Some(DeadLetter { reason, ..letter }) });
                }
            }
        }
        Ok(Redriven { handled, left: None })
    }

    /// Gives an event up, with what is missing before it, and hands over what is parked behind it; `None` when there is no
    /// such letter.
    ///
    /// # Errors
    /// When the store of the parked events fails.
    pub async fn discard(&self, id: Uuid) -> Result<Option<Redriven>, Error> {
        let Some(subject) = self.0.state.discard(id).await? else { return Ok(None) };
        tracing::warn!(consumer = self.0.state.consumer(), subject, letter = %id, "a parked event was given up");
        self.redrive(&subject).await.map(Some)
    }

    /// Redrives all aggregates of a stream, or of all streams, or only those that are due to be tried again; returns how many
    /// events were handled, and of how many aggregates some are still parked. One whose store fails counts among these, and the
    /// next is tried.
    ///
    /// # Errors
    /// When it can't be found out what is parked.
    pub async fn redrive_all(&self, stream: Option<&str>, due: bool) -> Result<(u64, u64), Error> {
        let (mut handled, mut left, mut after) = (0, 0, String::new());
        loop {
            let subjects = self.0.state.aggregates(stream, &after, due, PAGE).await?;
            for subject in &subjects {
                match self.redrive_aggregate(subject, Asks::UnlessItHangs).await {
                    Ok(redriven) => {
                        handled += redriven.handled;
                        left += u64::from(redriven.left.is_some());
                    }
                    Err(error) => {
                        tracing::warn!(consumer = self.0.state.consumer(), subject, %error, "parked events can't be tried again");
                        left += 1;
                    }
                }
            }
            match subjects.into_iter().next_back() {
                Some(last) => after = last,
                None => return Ok((handled, left)),
            }
        }
    }
}
