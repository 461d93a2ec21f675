//! How many open orders a customer may have.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meshwork_api::UserName;
use time::OffsetDateTime;

use crate::ports::OrderReadModel;

/// For how long a count stands, with what this instance has placed since.
const STANDS: time::Duration = time::Duration::seconds(5);
/// For how long a count stands by which the customer is refused: orders may have ended meanwhile.
const STANDS_AT_LIMIT: time::Duration = time::Duration::seconds(1);
/// How long a count may take. An order doesn't wait longer for it, and is admitted.
const PATIENCE: Duration = Duration::from_millis(200);
/// Of how many customers counts are remembered.
const MAX_CUSTOMERS: usize = 10_000;

/// About how many orders customers have that are pending or confirmed: counted in the lists from time to time, with
/// what was placed since.
///
/// The limit is one of manners, against who fills the shop with orders: it may be passed by a few, since lists follow
/// with a delay, other instances place orders too, and calls at the same moment don't know of each other. Orders are
/// taken without the database of the lists: where that doesn't answer, everybody is admitted.
#[derive(Debug)]
pub struct OpenOrders {
    at_most: u32,
    counts: Mutex<HashMap<UserName, Count>>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    orders: u32,
    at: OffsetDateTime,
}

impl OpenOrders {
    /// A limit of so many open orders per customer. 0: none.
    pub fn new(at_most: u32) -> Self {
        Self { at_most, counts: Mutex::default() }
    }

    /// How many open orders a customer may have, for one that has as many or more.
    pub(super) async fn reached(
        &self,
        lists: &dyn OrderReadModel,
        customer: &UserName,
        now: OffsetDateTime,
    ) -> Option<u32> {
        if self.at_most == 0 {
            return None;
        }
        let orders = if let Some(orders) = self.remembered(customer, now) {
            orders
        } else {
            let orders = self.count(lists, customer).await;
            self.remember(customer, Count { orders, at: now });
            orders
        };
        (orders >= self.at_most).then_some(self.at_most)
    }

    /// Counts an order that was placed just now.
    pub(super) fn placed(&self, customer: &UserName) {
        if let Some(count) = self.counts().get_mut(customer) {
            count.orders = count.orders.saturating_add(1);
        }
    }

    /// What the lists show; none while their database doesn't answer.
    async fn count(&self, lists: &dyn OrderReadModel, customer: &UserName) -> u32 {
        match tokio::time::timeout(PATIENCE, lists.open_orders(customer, self.at_most)).await {
            Ok(Ok(orders)) => orders,
            Ok(Err(error)) => {
                tracing::debug!(%error, "open orders can't be counted; nobody is refused for them");
                0
            }
            Err(_) => {
                tracing::debug!("open orders can't be counted in time; nobody is refused for them");
                0
            }
        }
    }

    fn remembered(&self, customer: &UserName, now: OffsetDateTime) -> Option<u32> {
        let count = self.counts().get(customer).copied()?;
        let stands = if count.orders >= self.at_most { STANDS_AT_LIMIT } else { STANDS };
        // A clock that was set back makes no count stand for ever.
        (count.at <= now && now - count.at < stands).then_some(count.orders)
    }

    fn remember(&self, customer: &UserName, count: Count) {
        let mut counts = self.counts();
        if counts.len() >= MAX_CUSTOMERS && !counts.contains_key(customer) {
            counts.retain(|_, other| other.at <= count.at && count.at - other.at < STANDS);
            if counts.len() >= MAX_CUSTOMERS {
                return;
            }
        }
        counts.insert(customer.clone(), count);
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<UserName, Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
