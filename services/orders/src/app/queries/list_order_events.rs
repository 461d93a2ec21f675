//! What happened to an order.

use meshwork_api::OrderName;
use meshwork_chassis::Principal;

use crate::app::{App, AppError};
use crate::domain::Order;
use crate::ports::Recorded;

impl App {
    /// An order and at most `limit` of its events with a version above `after`, oldest first, for who may see the order.
    ///
    /// # Errors
    /// As [`App::get_order`].
    pub async fn list_order_events(
        &self,
        principal: &Principal,
        name: &OrderName,
        after: i64,
        limit: usize,
    ) -> Result<(Order, Vec<Recorded>), AppError> {
        let order = self.get_order(principal, name).await?;
        let mut history = self.store.history(name, after).await?;
        history.truncate(limit);
        Ok((order, history))
    }
}
