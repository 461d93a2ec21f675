//! Takes delivered pieces into stock.

use meshwork_api::ProductName;
use meshwork_chassis::request::RequestKey;

use crate::app::App;
use crate::domain::{Stock, StockChange};
use crate::ports::{Answer, StoreError, Written};

/// Pieces that have come.
#[derive(Clone, Debug)]
pub struct ReceiveStock {
    /// Whose.
    pub product: ProductName,
    /// How many; above zero.
    pub quantity: i64,
    /// What makes the call repeatable.
    pub request: Option<RequestKey>,
}

impl App {
    /// Takes delivered pieces into stock.
    ///
    /// # Errors
    /// As [`Inventory::change_stock`](crate::ports::Inventory::change_stock).
    pub async fn receive_stock(&self, command: ReceiveStock) -> Result<Written<Answer<Stock>>, StoreError> {
        let change = StockChange::Receive { quantity: command.quantity };
        let value = self.inventory.change_stock(command.product, change, command.request).await?;
        Ok(Written { value, position: self.inventory.position().await })
    }
}
