//! Looks at several products.

use meshwork_api::ProductName;
use meshwork_chassis::consistency::Freshness;

use crate::app::App;
use crate::domain::Product;
use crate::ports::StoreError;

impl App {
    /// The products of these names, in the names' order: all or none. They are as the store has them now, since orders are
    /// priced by them.
    ///
    /// # Errors
    /// [`Refusal::ProductNotFound`](crate::domain::Refusal::ProductNotFound) for the first that there isn't, or no
    /// longer; else when the store fails.
    pub async fn batch_get_products(&self, names: &[ProductName]) -> Result<Vec<Product>, StoreError> {
        self.catalogue.get(names, Freshness::Latest).await
    }
}
