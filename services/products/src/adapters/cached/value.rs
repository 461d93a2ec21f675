//! Products, and first pages of them, as caches keep them.

use meshwork_aip::page::Page;
use meshwork_api::ProductName;
use meshwork_cache::Value;
use meshwork_sql::{from_micros, to_micros};
use prost::Message;

use crate::domain::{Price, Product};

/// A first page of the products that are for sale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductList(pub Page<Product>);

/// A product that is for sale.
#[derive(Clone, PartialEq, Message)]
struct StoredProduct {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    display_name: String,
    #[prost(string, tag = "3")]
    description: String,
    #[prost(string, tag = "4")]
    currency: String,
    /// In the currency's smallest unit.
    #[prost(int64, tag = "5")]
    price: i64,
    /// In microseconds since 1970.
    #[prost(int64, tag = "6")]
    created_at: i64,
    /// In microseconds since 1970.
    #[prost(int64, tag = "7")]
    updated_at: i64,
    #[prost(int64, tag = "8")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct StoredList {
    #[prost(message, repeated, tag = "1")]
    items: Vec<StoredProduct>,
    #[prost(string, optional, tag = "2")]
    next: Option<String>,
}

impl From<&Product> for StoredProduct {
    fn from(product: &Product) -> Self {
        Self {
            id: product.name.id().to_owned(),
            display_name: product.display_name.clone(),
            description: product.description.clone(),
            currency: product.price.currency.clone(),
            price: product.price.minor,
            created_at: to_micros(product.created_at),
            updated_at: to_micros(product.updated_at),
            version: product.version,
        }
    }
}

impl StoredProduct {
    fn product(self) -> Option<Product> {
        Some(Product {
            name: ProductName::new(self.id).ok()?,
            display_name: self.display_name,
            description: self.description,
            price: Price { currency: self.currency, minor: self.price },
            created_at: from_micros(self.created_at),
            updated_at: from_micros(self.updated_at),
            // Deleted ones are not cached.
            deleted_at: None,
            version: self.version,
        })
    }
}

impl Value for Product {
    const KIND: &'static str = "products";
    const SCHEMA: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        StoredProduct::from(self).encode_to_vec()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        StoredProduct::decode(bytes).ok()?.product()
    }

    fn weight(&self) -> usize {
        let texts =
            [self.name.id(), self.display_name.as_str(), self.description.as_str(), self.price.currency.as_str()];
        size_of::<Self>() + texts.into_iter().map(str::len).sum::<usize>()
    }
}

impl Value for ProductList {
    const KIND: &'static str = "product-lists";
    const SCHEMA: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        let items = self.0.items.iter().map(StoredProduct::from).collect();
        StoredList { items, next: self.0.next.clone() }.encode_to_vec()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let StoredList { items, next } = StoredList::decode(bytes).ok()?;
        let items = items.into_iter().map(StoredProduct::product).collect::<Option<Vec<_>>>()?;
        Some(Self(Page { items, next }))
    }

    fn weight(&self) -> usize {
        size_of::<Self>()
            + self.0.next.as_ref().map_or(0, String::len)
            + self.0.items.iter().map(Value::weight).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::OffsetDateTime;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05.678901 UTC);

    fn product(id: &str) -> Product {
        Product {
            name: ProductName::new(id).unwrap(),
            display_name: "Lämp".to_owned(),
            description: "It shines".to_owned(),
            price: Price { currency: "EUR".to_owned(), minor: 1999 },
            created_at: NOW,
            updated_at: NOW + time::Duration::HOUR,
            deleted_at: None,
            version: 7,
        }
    }

    #[test]
    fn products_and_pages_are_read_back_as_they_were() {
        let (lamp, torch) = (product("lamp"), product("torch"));
        assert_eq!(Product::decode(&Value::encode(&lamp)), Some(lamp.clone()));
        for next in [None, Some("1:lamp".to_owned())] {
            for items in [vec![], vec![lamp.clone(), torch.clone()]] {
                let list = ProductList(Page { items, next: next.clone() });
                assert_eq!(ProductList::decode(&Value::encode(&list)), Some(list));
            }
        }
    }

    #[test]
    fn what_is_no_product_is_none() {
        assert_eq!(Product::decode(&[]), None);
        let broken = StoredProduct { id: "No id".to_owned(), ..StoredProduct::from(&product("lamp")) };
        assert_eq!(Product::decode(&broken.encode_to_vec()), None);
        let list = StoredList { items: vec![StoredProduct::from(&product("lamp")), broken], next: None };
        assert_eq!(ProductList::decode(&list.encode_to_vec()), None);
    }

    proptest! {
        #[test]
        fn ca_9_any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(product) = Product::decode(&bytes) {
                prop_assert_eq!(Product::decode(&Value::encode(&product)), Some(product));
            }
            if let Some(list) = ProductList::decode(&bytes) {
                prop_assert_eq!(ProductList::decode(&Value::encode(&list)), Some(list));
            }
        }
    }
}
