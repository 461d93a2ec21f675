//! Removes a product from sale.

use meshwork_api::ProductName;

use crate::app::App;
use crate::ports::{StoreError, Written};

/// A product to remove from sale. Its id stays taken.
#[derive(Clone, Debug)]
pub struct DeleteProduct {
    /// The product.
    pub name: ProductName,
    /// The version that the product must have; any when `None`.
    pub expected: Option<i64>,
}

impl App {
    /// Removes a product from sale.
    ///
    /// # Errors
    /// As [`Catalogue::delete`](crate::ports::Catalogue::delete).
    pub async fn delete_product(&self, command: DeleteProduct) -> Result<Written<()>, StoreError> {
        self.catalogue.delete(command.name, command.expected).await?;
        Ok(Written { value: (), position: self.catalogue.position().await })
    }
}
