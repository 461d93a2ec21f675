//! Lists of orders, from the read model.

use std::time::Duration;

use meshwork_chassis::Principal;
use meshwork_chassis::page::{Page, PageRequest};

use crate::app::{App, AppError};
use crate::domain::Order;
use crate::ports::{OrderFilter, Position, ViewPage};

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
        let behind = match seen {
            Some(position) => {
                self.following.stands_still(position.partition)
                    || !self.read_model.wait_for(position, FRESH_WITHIN).await?
            }
            None => false,
        };
        let ViewPage { page, incomplete } = self.read_model.list(&filter, page).await?;
        Ok(Listed { page, stale: behind || incomplete })
    }
}
