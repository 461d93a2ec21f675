//! What commands are answered, and what is known of the requests that they come from.

use meshwork_api::OrderName;
use meshwork_chassis::request::RequestKey;
use time::OffsetDateTime;

use crate::app::{App, AppError, Reply};
use crate::domain::{Order, OrderError};
use crate::ports::{Claim, CommandKey};

impl App {
    /// What is known of a request's id, which must not have come with another body.
    pub(super) async fn look_up(&self, request: &RequestKey) -> Result<Claim, AppError> {
        match self.store.look_up(request).await? {
            Claim::Reused => Err(AppError::RequestReused),
            claim => Ok(claim),
        }
    }

    /// Claims the request's id, so that it can't come with another body, whichever order that would be about.
    pub(super) async fn claim(&self, request: &RequestKey, at: OffsetDateTime) -> Result<(), AppError> {
        match self.store.claim(request, at).await? {
            Claim::Reused => Err(AppError::RequestReused),
            _ => Ok(()),
        }
    }

    /// What a command was answered, if it has been carried out.
    pub(super) async fn answered(&self, name: &OrderName, key: &CommandKey) -> Result<Option<Reply<Order>>, AppError> {
        Ok(self.store.answered(name, key).await?.map(Reply::from))
    }

    /// The answer to a command that has left the order at a version.
    pub(super) async fn reply_at(
        &self,
        name: &OrderName,
        version: i64,
        replayed: bool,
    ) -> Result<Reply<Order>, AppError> {
        let (answer, position) = self.store.order_at(name, version).await?.ok_or(OrderError::Missing)?;
        Ok(Reply { answer, position: Some(position), replayed })
    }

    /// The order as it was at a version.
    pub(in crate::app) async fn order_at(&self, name: &OrderName, version: i64) -> Result<Order, AppError> {
        let (order, _) = self.store.order_at(name, version).await?.ok_or(OrderError::Missing)?;
        Ok(order)
    }
}
