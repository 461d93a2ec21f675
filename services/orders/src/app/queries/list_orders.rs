//! Lists of orders, from the read model.

use std::time::Duration;

use meshwork_aip::page::{Page, PageRequest};
use meshwork_chassis::Principal;
use meshwork_chassis::consistency::Freshness;

use crate::app::{App, AppError};
use crate::domain::Order;
use crate::ports::{Awaited, OrderFilter, Position, ViewPage};

/// How long a list waits to show what its caller has done.
const FRESH_WITHIN: Duration = Duration::from_millis(300);

/// A page of orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The orders.
    pub page: Page<Order>,
    /// Whether what the caller has seen elsewhere may be missing, or an order can't be followed.
    pub stale: bool,
}

impl App {
    /// A page of orders, newest first: the caller's own, or, for staff, everybody's. It shows everything up to `seen`, or
    /// says that it doesn't.
    ///
    /// # Errors
    /// [`AppError::NotAllowed`] when anybody else asks for another's orders.
    pub async fn list_orders(
        &self,
        principal: &Principal,
        mut filter: OrderFilter,
        page: &PageRequest,
        seen: Option<Position>,
    ) -> Result<Listed, AppError> {
        if !principal.is_staff() {
            let user = principal.user().ok_or(AppError::NotAllowed)?;
            if filter.customer.as_ref().is_some_and(|customer| customer != user) {
                return Err(AppError::NotAllowed);
            }
            filter.customer = Some(user.clone());
        }
        // It isn't waited for in vain; most of it is in the list that nobody copies.
        let stands_still = seen.is_some_and(|position| self.following.stands_still(position.partition));
        let (freshness, awaited) = if stands_still {
            (Freshness::Latest, None)
        } else {
            (Freshness::Bounded, seen.map(|position| Awaited { position, at_most: FRESH_WITHIN }))
        };
        let ViewPage { page, incomplete, behind } = self.read_model.list(&filter, page, freshness, awaited).await?;
        Ok(Listed { page, stale: stands_still || behind || incomplete })
    }
}
