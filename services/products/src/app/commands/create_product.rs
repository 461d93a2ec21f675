//! Adds a product.

use meshwork_chassis::request::RequestKey;

use crate::app::App;
use crate::domain::{NewProduct, Product};
use crate::ports::{Answer, StoreError, Written};

/// A product to add, with no stock.
#[derive(Clone, Debug)]
pub struct CreateProduct {
    /// The product.
    pub product: NewProduct,
    /// What makes the call repeatable.
    pub request: Option<RequestKey>,
}

impl App {
    /// Adds a product.
    ///
    /// # Errors
    /// As [`Catalogue::create`](crate::ports::Catalogue::create).
    pub async fn create_product(&self, command: CreateProduct) -> Result<Written<Answer<Product>>, StoreError> {
        let value = self.catalogue.create(command.product, command.request).await?;
        Ok(Written { value, position: self.catalogue.position().await })
    }
}
