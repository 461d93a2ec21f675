//! An order as it is at this moment.

use meshwork_api::OrderName;
use meshwork_chassis::Principal;

use crate::app::{App, AppError};
use crate::domain::{Order, OrderError};

impl App {
    /// The order, for who may see it.
    ///
    /// # Errors
    /// [`AppError::NotAllowed`] for another customer's order and, for customers, one that doesn't exist.
    pub async fn get_order(&self, principal: &Principal, name: &OrderName) -> Result<Order, AppError> {
        match self.load(name).await? {
            Some(order) if principal.may_see(&order.customer) => Ok(order),
            None if principal.sees_all() => Err(OrderError::Missing.into()),
            _ => Err(AppError::NotAllowed),
        }
    }

    /// The order, as its history makes it.
    pub(in crate::app) async fn load(&self, name: &OrderName) -> Result<Option<Order>, AppError> {
        Ok(self.store.load(name).await?)
    }
}
