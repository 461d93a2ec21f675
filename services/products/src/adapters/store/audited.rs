//! The stocks, as those are told of them who audit the service.

use async_trait::async_trait;
use meshwork_api::meshwork::admin::v1::ProductStock;
use meshwork_chassis::events::StockReader;

use super::super::rows::StockRow;
use super::store::Store;
use crate::domain::Stock;

#[async_trait]
impl StockReader for Store {
    async fn stocks(&self, after: &str, limit: usize) -> Result<Vec<ProductStock>, String> {
        let rows: Vec<StockRow> = sqlx::query_as(
            "SELECT s.* FROM stock s JOIN product p ON p.id = s.product \
             WHERE s.product > $1 AND p.deleted_at IS NULL ORDER BY s.product LIMIT $2",
        )
        .bind(after.strip_prefix("products/").unwrap_or_default())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(self.db.reader())
        .await
        .map_err(|error| error.to_string())?;
        rows.into_iter().map(|row| Stock::try_from(row).map(told).map_err(|error| error.to_string())).collect()
    }
}

fn told(stock: Stock) -> ProductStock {
    let Stock { product, available, held, allocated, shipped, received, .. } = stock;
    ProductStock { product: product.to_string(), available, held, allocated, shipped, received }
}
