//! Adds a product.

use meshwork_chassis::request::RequestKey;

use crate::app::App;
use crate::domain::{NewProduct, Product};
use crate::ports::{Answer, StoreError};

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
    pub async fn create_product(&self, command: CreateProduct) -> Result<Answer<Product>, StoreError> {
        self.catalogue.create(command.product, command.request).await
    }
}
