//! Corrects a stock by what a count found.

use meshwork_api::ProductName;
use meshwork_chassis::request::RequestKey;

use crate::app::App;
use crate::domain::{Stock, StockChange};
use crate::ports::{Answer, StoreError, Written};

/// A correction.
#[derive(Clone, Debug)]
pub struct AdjustStock {
    /// Whose stock.
    pub product: ProductName,
    /// How many pieces more, or below zero fewer, are available; not zero.
    pub delta: i64,
    /// Why.
    pub reason: String,
    /// Who says so.
    pub actor: String,
    /// What makes the call repeatable.
    pub request: Option<RequestKey>,
}

impl App {
    /// Corrects a stock, and keeps the reason.
    ///
    /// # Errors
    /// As [`Inventory::change_stock`](crate::ports::Inventory::change_stock).
    pub async fn adjust_stock(&self, command: AdjustStock) -> Result<Written<Answer<Stock>>, StoreError> {
        let AdjustStock { product, delta, reason, actor, request } = command;
        let change = StockChange::Adjust { delta, reason, actor };
        let value = self.inventory.change_stock(product, change, request).await?;
        Ok(Written { value, position: self.inventory.position().await })
    }
}
