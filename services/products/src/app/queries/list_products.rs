//! Lists products.

use meshwork_aip::page::{Page, PageRequest};
use meshwork_chassis::consistency::Freshness;

use crate::app::App;
use crate::domain::Product;
use crate::ports::StoreError;

impl App {
    /// Products that are for sale, oldest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list_products(&self, page: &PageRequest, freshness: Freshness) -> Result<Page<Product>, StoreError> {
        self.catalogue.list(page, freshness).await
    }
}
