//! Rows, as tables and kept answers have them.

use meshwork_aip::page::PageRequest;
use meshwork_api::{OrderName, ProductName};
use meshwork_sql::{from_micros, to_micros};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use super::damaged;
use crate::domain::{Line, Price, Product, Reservation, Stock};
use crate::ports::StoreError;

/// A row of `product`.
#[derive(Serialize, Deserialize, FromRow)]
pub(super) struct ProductRow {
    pub id: String,
    pub display_name: String,
    pub description: String,
    pub currency: String,
    pub price: i64,
    pub created_at: i64,
    pub updated_at: i64,
    pub deleted_at: Option<i64>,
    pub version: i64,
}

impl From<&Product> for ProductRow {
    fn from(product: &Product) -> Self {
        Self {
            id: product.name.id().to_owned(),
            display_name: product.display_name.clone(),
            description: product.description.clone(),
            currency: product.price.currency.clone(),
            price: product.price.minor,
            created_at: to_micros(product.created_at),
            updated_at: to_micros(product.updated_at),
            deleted_at: product.deleted_at.map(to_micros),
            version: product.version,
        }
    }
}

impl TryFrom<ProductRow> for Product {
    type Error = StoreError;

    fn try_from(row: ProductRow) -> Result<Self, StoreError> {
        Ok(Self {
            name: ProductName::new(row.id).map_err(damaged)?,
            display_name: row.display_name,
            description: row.description,
            price: Price { currency: row.currency, minor: row.price },
            created_at: from_micros(row.created_at),
            updated_at: from_micros(row.updated_at),
            deleted_at: row.deleted_at.map(from_micros),
            version: row.version,
        })
    }
}

/// A row of `stock`.
#[derive(Serialize, Deserialize, FromRow)]
pub(super) struct StockRow {
    pub product: String,
    pub available: i64,
    pub held: i64,
    pub allocated: i64,
    pub shipped: i64,
    pub received: i64,
    pub updated_at: i64,
}

impl From<&Stock> for StockRow {
    fn from(stock: &Stock) -> Self {
        Self {
            product: stock.product.id().to_owned(),
            available: stock.available,
            held: stock.held,
            allocated: stock.allocated,
            shipped: stock.shipped,
            received: stock.received,
            updated_at: to_micros(stock.updated_at),
        }
    }
}

impl TryFrom<StockRow> for Stock {
    type Error = StoreError;

    fn try_from(row: StockRow) -> Result<Self, StoreError> {
        Ok(Self {
            product: ProductName::new(row.product).map_err(damaged)?,
            available: row.available,
            held: row.held,
            allocated: row.allocated,
            shipped: row.shipped,
            received: row.received,
            updated_at: from_micros(row.updated_at),
        })
    }
}

/// A row of `reservation`, without what it told last.
#[derive(FromRow)]
pub(super) struct ReservationRow {
    pub order_id: String,
    pub state: String,
    pub expires_at: Option<i64>,
    pub created_at: i64,
    pub updated_at: i64,
    pub version: i64,
}

impl ReservationRow {
    /// The reservation with these lines.
    pub fn with(self, lines: Vec<Line>) -> Result<Reservation, StoreError> {
        Ok(Reservation {
            order: OrderName::new(self.order_id).map_err(damaged)?,
            state: self.state.parse().map_err(damaged)?,
            lines,
            expires_at: self.expires_at.map(from_micros),
            created_at: from_micros(self.created_at),
            updated_at: from_micros(self.updated_at),
            version: self.version,
        })
    }
}

/// A row of `reservation_line`.
#[derive(FromRow)]
pub(super) struct LineRow {
    pub product: String,
    pub quantity: i64,
}

impl TryFrom<LineRow> for Line {
    type Error = StoreError;

    fn try_from(row: LineRow) -> Result<Self, StoreError> {
        Ok(Self { product: ProductName::new(row.product).map_err(damaged)?, quantity: row.quantity })
    }
}

/// The place of an item in a list: when it was made, in microseconds since 1970, and its id.
pub(super) fn cursor(created_at: i64, id: &str) -> String {
    format!("{created_at}:{id}")
}

/// The place after which a page begins: behind a row that can't be read too. PostgreSQL takes no text with a NUL.
pub(super) fn place(page: &PageRequest) -> Result<Option<(i64, &str)>, StoreError> {
    let Some(cursor) = &page.after else { return Ok(None) };
    let (created_at, id) = cursor.split_once(':').filter(|(_, id)| !id.contains('\0')).ok_or(StoreError::BadCursor)?;
    Ok(Some((created_at.parse().map_err(|_| StoreError::BadCursor)?, id)))
}

/// One item more than the page has, which shows whether there is another page.
pub(super) fn limit(page: &PageRequest) -> i64 {
    i64::try_from(page.size).unwrap_or(i64::MAX).saturating_add(1)
}
