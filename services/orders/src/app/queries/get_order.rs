//! An order as it is at this moment.

use meshwork_api::OrderName;
use meshwork_chassis::Principal;

use crate::app::{App, AppError};
use crate::domain::{Order, OrderError, fold};

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

    /// The order, folded from its history.
    pub(in crate::app) async fn load(&self, name: &OrderName) -> Result<Option<Order>, AppError> {
        let history = self.store.history(name, 0).await?;
        Ok(fold(name, history.iter().map(|recorded| (&recorded.event, recorded.at))))
    }
}
