//! Looks at a product.

use meshwork_api::ProductName;
use meshwork_chassis::consistency::Freshness;

use crate::app::App;
use crate::domain::{Product, Refusal};
use crate::ports::StoreError;

impl App {
    /// A product.
    ///
    /// # Errors
    /// [`Refusal::ProductNotFound`] when there is none, or no longer; else when the store fails.
    pub async fn get_product(&self, name: ProductName, freshness: Freshness) -> Result<Product, StoreError> {
        let found = self.catalogue.get(std::slice::from_ref(&name), freshness).await?.into_iter().next();
        found.ok_or_else(|| Refusal::ProductNotFound { product: name }.into())
    }
}
