//! The order's side of the saga: what it does when the inventory speaks.

use meshwork_api::OrderName;

use crate::app::{App, AppError};
use crate::domain::{Command, OrderError};
use crate::ports::{CommandKey, ExecuteError};

/// What the inventory has decided about an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StockEvent {
    /// The pieces are held.
    Reserved,
    /// There are too few.
    Rejected {
        /// What is missing.
        reason: String,
    },
    /// The pieces belong to the order.
    Allocated,
    /// The pieces were not claimed in time.
    Expired,
    /// The pieces were gone when the confirmed order claimed them.
    AllocationFailed {
        /// Why.
        reason: String,
    },
}

impl App {
    /// Lets an order react. `key` is the same for the same event, so that one that comes twice does nothing twice.
    ///
    /// # Errors
    /// See [`AppError`].
    pub async fn handle_stock_event(
        &self,
        name: &OrderName,
        key: &CommandKey,
        event: &StockEvent,
    ) -> Result<(), AppError> {
        let command = match event {
            StockEvent::Reserved => Command::Confirm,
            StockEvent::Rejected { reason } => Command::Reject { reason: reason.clone() },
            StockEvent::Allocated => Command::RecordAllocation,
            StockEvent::Expired => Command::Reject { reason: "the reservation has expired".to_owned() },
            StockEvent::AllocationFailed { reason } => Command::FailAllocation { reason: reason.clone() },
        };
        match self.store.execute(name, &command, None, key, self.clock.now()).await {
            // A reservation of an order that we don't hold concerns nobody here.
            Ok(_) | Err(ExecuteError::Refused(OrderError::Missing)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
