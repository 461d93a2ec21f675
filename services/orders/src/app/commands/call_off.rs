//! Calling off what customers have open whose accounts are deleted.

use meshwork_aip::page::PageRequest;
use meshwork_api::UserName;
use meshwork_chassis::consistency::Freshness;
use time::OffsetDateTime;

use crate::app::{App, AppError};
use crate::domain::{Command, OrderError, State};
use crate::ports::{OrderFilter, StoreError};

/// How many orders are read at once.
const PAGE: usize = 100;
/// The id of the command by which such an order is called off.
const COMMAND: &str = "watchdog/customer-deleted";
/// Why it is called off.
const REASON: &str = "the customer's account was deleted";

impl App {
    /// Calls off what a customer has open whose account was deleted at `deleted`, and looks again later. It may be done as often
    /// as one likes.
    ///
    /// # Errors
    /// When a store fails.
    pub async fn customer_is_gone(&self, customer: &UserName, deleted: OffsetDateTime) -> Result<(), AppError> {
        let now = self.clock.now();
        self.former.remember(customer, true, now);
        self.call_off(customer).await?;
        self.former.look_again(customer, deleted, now);
        Ok(())
    }

    /// Calls off what customers have open by now who were gone before. Those at whom it fails have their turn again.
    ///
    /// # Errors
    /// When a store fails.
    pub async fn look_through_again(&self) -> Result<(), AppError> {
        let now = self.clock.now();
        while let Some(customer) = self.former.due(now) {
            if let Err(error) = self.call_off(&customer).await {
                self.former.put_back(customer, now);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Calls off all orders of a customer that lists show as pending or confirmed: their pieces are for others again.
    async fn call_off(&self, customer: &UserName) -> Result<(), AppError> {
        for state in [State::Pending, State::Confirmed] {
            let filter = OrderFilter { customer: Some(customer.clone()), state: Some(state) };
            let mut page = PageRequest { size: PAGE, after: None };
            loop {
                let listed = self.read_model.list(&filter, &page, Freshness::Latest, None).await?.page;
                for order in &listed.items {
                    let cancel = Command::Cancel { reason: REASON.to_owned() };
                    match self.execute(&order.name, &cancel, None, COMMAND.to_owned(), None).await {
                        // One that was shipped meanwhile goes on its way.
                        Ok(_) | Err(AppError::Order(OrderError::State { .. } | OrderError::Missing)) => {}
                        // It waits for its repair; the others must not.
                        Err(AppError::Store(StoreError::Damaged(problem))) => {
                            tracing::error!(order = %order.name, problem, "an order of a deleted customer can't be read");
                        }
                        Err(error) => return Err(error),
                    }
                }
                let Some(after) = listed.next else { break };
                page.after = Some(after);
            }
        }
        Ok(())
    }
}
