//! Following an order.

use std::collections::VecDeque;
use std::time::Duration;

use meshwork_api::OrderName;
use meshwork_chassis::Principal;

use crate::app::{App, AppError};
use crate::domain::{Order, OrderError, evolve, fold};
use crate::ports::{Changes, Recorded};

/// How long a watch sleeps when nothing wakes it.
const POLL: Duration = Duration::from_secs(1);

/// Something that happened to a watched order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderChange {
    /// What happened.
    pub recorded: Recorded,
    /// The order after it.
    pub order: Order,
}

/// A watch on an order.
pub struct OrderWatch {
    app: App,
    name: OrderName,
    order: Option<Order>,
    changes: Box<dyn Changes>,
    unread: VecDeque<Recorded>,
}

impl App {
    /// Watches an order from after version `after` (0 for its whole history), for who may see it.
    ///
    /// # Errors
    /// As [`App::get_order`]; [`AppError::AheadOfOrder`] for a version that the order hasn't come to.
    pub async fn watch_order(
        &self,
        principal: &Principal,
        name: &OrderName,
        after: i64,
    ) -> Result<OrderWatch, AppError> {
        self.get_order(principal, name).await?;
        let changes = self.store.changes(name);
        let history = self.store.history(name, 0).await?;
        let (seen, unread): (Vec<_>, Vec<_>) = history.into_iter().partition(|recorded| recorded.version <= after);
        let order = fold(name, seen.iter().map(|recorded| (&recorded.event, recorded.at)));
        if order.as_ref().map_or(0, |order| order.version) < after {
            return Err(AppError::AheadOfOrder);
        }
        Ok(OrderWatch { app: self.clone(), name: name.clone(), order, changes, unread: unread.into() })
    }
}

impl OrderWatch {
    /// The next change, as soon as there is one; `None` once the order can't change any more.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn next(&mut self) -> Result<Option<OrderChange>, AppError> {
        loop {
            if let Some(recorded) = self.unread.pop_front() {
                let order = evolve(self.order.take(), &self.name, &recorded.event, recorded.at);
                let order = order.ok_or(OrderError::Missing)?;
                self.order = Some(order.clone());
                return Ok(Some(OrderChange { recorded, order }));
            }
            if self.order.as_ref().is_some_and(|order| order.state.is_final()) {
                return Ok(None);
            }
            self.changes.next(POLL).await;
            let after = self.order.as_ref().map_or(0, |order| order.version);
            self.unread = self.app.store.history(&self.name, after).await?.into();
        }
    }
}
