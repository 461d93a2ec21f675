//! An order as it is at this moment, or as it was.

use meshwork_api::OrderName;
use meshwork_chassis::Principal;
use time::OffsetDateTime;

use crate::app::{App, AppError};
use crate::domain::{Order, OrderError, fold};

/// As of when an order is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// As it is.
    Now,
    /// As it was after so many events.
    Version(i64),
    /// As it was at a time.
    Time(OffsetDateTime),
}

impl App {
    /// The order as it was, for who may see it.
    ///
    /// # Errors
    /// As [`App::get_order`]; [`AppError::NoSuchVersion`] for a version that it hasn't come to, and
    /// [`OrderError::Missing`] for a time before it was placed.
    pub async fn get_order_as_of(
        &self,
        principal: &Principal,
        name: &OrderName,
        as_of: AsOf,
    ) -> Result<Order, AppError> {
        let order = self.get_order(principal, name).await?;
        match as_of {
            AsOf::Now => Ok(order),
            AsOf::Version(version) if version > order.version => Err(AppError::NoSuchVersion),
            AsOf::Version(version) => self.order_at(name, version).await,
            AsOf::Time(time) => {
                let history = self.store.history(name, 0).await?;
                // Clocks may have been set back in between: what follows an event of later is later too.
                let until = history.iter().take_while(|recorded| recorded.at <= time);
                Ok(fold(name, until.map(|recorded| (&recorded.event, recorded.at))).ok_or(OrderError::Missing)?)
            }
        }
    }

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
