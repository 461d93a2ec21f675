//! Looks at a stock.

use meshwork_api::ProductName;
use meshwork_chassis::consistency::Freshness;

use crate::app::App;
use crate::domain::Stock;
use crate::ports::StoreError;

impl App {
    /// A product's stock.
    ///
    /// # Errors
    /// [`Refusal::ProductNotFound`](crate::domain::Refusal::ProductNotFound) when there is no such product, or no
    /// longer; else when the store fails.
    pub async fn get_stock(&self, product: &ProductName, freshness: Freshness) -> Result<Stock, StoreError> {
        self.inventory.stock(product, freshness).await
    }
}
