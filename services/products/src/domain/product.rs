//! Products.

use meshwork_api::ProductName;
use time::OffsetDateTime;

use super::{Refusal, Stock};

/// What one piece costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// The ISO 4217 code of the currency.
    pub currency: String,
    /// The amount in the currency's smallest unit, such as cents; above zero.
    pub minor: i64,
}

/// A product to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewProduct {
    /// The name.
    pub name: ProductName,
    /// What people call it.
    pub display_name: String,
    /// What it is; may be empty.
    pub description: String,
    /// What one piece costs.
    pub price: Price,
}

/// Something for sale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// The name.
    pub name: ProductName,
    /// What people call it.
    pub display_name: String,
    /// What it is; may be empty.
    pub description: String,
    /// What one piece costs.
    pub price: Price,
    /// When it was added.
    pub created_at: OffsetDateTime,
    /// When it was changed last.
    pub updated_at: OffsetDateTime,
    /// When it was removed from sale. Such a product is to callers as if it were absent, but its id stays taken.
    pub deleted_at: Option<OffsetDateTime>,
    /// How many events it has had: 1 when it was added, and one more for every change.
    pub version: i64,
}

/// New values; what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProductChange {
    /// What people call it.
    pub display_name: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// What one piece costs.
    pub price: Option<Price>,
}

impl Product {
    /// A product that is added now.
    pub fn new(product: NewProduct, now: OffsetDateTime) -> Self {
        let NewProduct { name, display_name, description, price } = product;
        Self { name, display_name, description, price, created_at: now, updated_at: now, deleted_at: None, version: 1 }
    }

    /// The product with new values.
    ///
    /// # Errors
    /// [`Refusal::ProductNotFound`] once it was deleted; [`Refusal::ProductChanged`] when it is not at the version
    /// `expected`.
    pub fn changed(&self, change: ProductChange, expected: Option<i64>, now: OffsetDateTime) -> Result<Self, Refusal> {
        self.admits(expected)?;
        Ok(Self {
            display_name: change.display_name.unwrap_or_else(|| self.display_name.clone()),
            description: change.description.unwrap_or_else(|| self.description.clone()),
            price: change.price.unwrap_or_else(|| self.price.clone()),
            ..self.next(now)
        })
    }

    /// The product, removed from sale.
    ///
    /// # Errors
    /// As [`Product::changed`]; [`Refusal::StockReserved`] while orders hold pieces of its `stock`.
    pub fn deleted(&self, stock: &Stock, expected: Option<i64>, now: OffsetDateTime) -> Result<Self, Refusal> {
        self.admits(expected)?;
        match stock.reserved() {
            0 => Ok(Self { deleted_at: Some(now), ..self.next(now) }),
            pieces => Err(Refusal::StockReserved { product: self.name.clone(), pieces }),
        }
    }

    fn admits(&self, expected: Option<i64>) -> Result<(), Refusal> {
        if self.deleted_at.is_some() {
            return Err(Refusal::ProductNotFound { product: self.name.clone() });
        }
        if expected.is_some_and(|version| version != self.version) {
            return Err(Refusal::ProductChanged { product: self.name.clone() });
        }
        Ok(())
    }

    fn next(&self, now: OffsetDateTime) -> Self {
        Self { updated_at: now, version: self.version.saturating_add(1), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn product() -> Product {
        let new = NewProduct {
            name: "products/lamp".parse().unwrap(),
            display_name: "Lamp".to_owned(),
            description: "Shines".to_owned(),
            price: Price { currency: "EUR".to_owned(), minor: 999 },
        };
        Product::new(new, START)
    }

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        let later = START + Duration::HOUR;
        let change = ProductChange { display_name: Some("Torch".to_owned()), ..ProductChange::default() };
        let changed = product().changed(change, Some(1), later).unwrap();
        let expected = Product { display_name: "Torch".to_owned(), updated_at: later, version: 2, ..product() };
        assert_eq!(changed, expected);
    }

    #[test]
    fn a_change_needs_the_version_that_was_read() {
        let refused = product().changed(ProductChange::default(), Some(2), START);
        assert_eq!(refused, Err(Refusal::ProductChanged { product: product().name }));
        assert_eq!(product().changed(ProductChange::default(), None, START).unwrap().version, 2);
    }

    #[test]
    fn a_product_with_reserved_pieces_stays() {
        for (held, allocated) in [(2, 0), (0, 3), (1, 1)] {
            let stock = Stock { held, allocated, received: held + allocated, ..Stock::new(product().name, START) };
            let refused = product().deleted(&stock, None, START);
            assert_eq!(refused, Err(Refusal::StockReserved { product: product().name, pieces: held + allocated }));
        }
        let stock = Stock { available: 5, shipped: 2, received: 7, ..Stock::new(product().name, START) };
        assert_eq!(product().deleted(&stock, None, START).unwrap().deleted_at, Some(START));
    }

    #[test]
    fn what_was_deleted_is_gone() {
        let deleted = product().deleted(&Stock::new(product().name, START), Some(1), START).unwrap();
        let gone = Refusal::ProductNotFound { product: product().name };
        assert_eq!(deleted.changed(ProductChange::default(), None, START), Err(gone.clone()));
        assert_eq!(deleted.deleted(&Stock::new(product().name, START), None, START), Err(gone));
    }
}
