//! Adds a product.

use meshwork_api::ProductName;
use meshwork_chassis::request::RequestKey;

use crate::app::App;
use crate::domain::{Price, Product};
use crate::ports::{Answer, StoreError};

/// A product to add, with no stock.
#[derive(Clone, Debug)]
pub struct CreateProduct {
    /// The name.
    pub name: ProductName,
    /// What people call it.
    pub display_name: String,
    /// What it is.
    pub description: String,
    /// What one piece costs.
    pub price: Price,
    /// What makes the call repeatable.
    pub request: Option<RequestKey>,
}

impl App {
    /// Adds a product.
    ///
    /// # Errors
    /// As [`Catalogue::create`](crate::ports::Catalogue::create).
    pub async fn create_product(&self, command: CreateProduct) -> Result<Answer<Product>, StoreError> {
        let CreateProduct { name, display_name, description, price, request } = command;
        let product = Product::new(name, display_name, description, price, self.clock.now());
        self.catalogue.create(product, request).await
    }
}
