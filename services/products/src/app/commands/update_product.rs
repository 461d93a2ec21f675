//! Changes a product.

use meshwork_api::ProductName;

use crate::app::App;
use crate::domain::{Product, ProductChange};
use crate::ports::{StoreError, Written};

/// A change of a product. Orders keep the price at which they were placed.
#[derive(Clone, Debug)]
pub struct UpdateProduct {
    /// The product.
    pub name: ProductName,
    /// The new values.
    pub change: ProductChange,
    /// The version that the product must have; any when `None`.
    pub expected: Option<i64>,
}

impl App {
    /// Changes a product.
    ///
    /// # Errors
    /// As [`Catalogue::update`](crate::ports::Catalogue::update).
    pub async fn update_product(&self, command: UpdateProduct) -> Result<Written<Product>, StoreError> {
        let value = self.catalogue.update(command.name, command.change, command.expected).await?;
        Ok(Written { value, position: self.catalogue.position().await })
    }
}
