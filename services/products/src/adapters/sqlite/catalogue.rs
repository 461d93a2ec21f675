//! The products.

use async_trait::async_trait;
use meshwork_api::ProductName;
use meshwork_chassis::page::{Page, PageRequest};
use meshwork_chassis::request::RequestKey;
use meshwork_events::outbox::sqlite::Outbox;
use sqlx::sqlite::SqliteConnection;
use time::OffsetDateTime;

use super::rows::{ProductRow, cursor, limit, place};
use super::{SqliteStore, answer_before, damaged, keep_answer, stock};
use crate::adapters::events;
use crate::domain::{Product, ProductChange, Refusal};
use crate::ports::{Answer, Catalogue, StoreError};

#[async_trait]
impl Catalogue for SqliteStore {
    async fn create(&self, product: Product, request: Option<RequestKey>) -> Result<Answer<Product>, StoreError> {
        let outbox = self.outbox.clone();
        let answer = self
            .db
            .write_once(move |connection| {
                Box::pin(async move { create(connection, &outbox, product, request.as_ref()).await })
            })
            .await?;
        Ok(answer)
    }

    async fn update(
        &self,
        name: ProductName,
        change: ProductChange,
        expected: Option<i64>,
        now: OffsetDateTime,
    ) -> Result<Product, StoreError> {
        let outbox = self.outbox.clone();
        let product = self
            .db
            .write_once::<_, StoreError, _>(move |connection| {
                Box::pin(async move {
                    let before = find(connection, &name).await?;
                    let product = before.changed(change, expected, now)?;
                    replace(connection, &before, &product).await?;
                    outbox.append(connection, now, &[events::product_updated(&product)]).await?;
                    Ok(product)
                })
            })
            .await?;
        Ok(product)
    }

    async fn delete(&self, name: ProductName, expected: Option<i64>, now: OffsetDateTime) -> Result<(), StoreError> {
        let outbox = self.outbox.clone();
        self.db
            .write_once::<_, StoreError, _>(move |connection| {
                Box::pin(async move {
                    let before = find(connection, &name).await?;
                    let stock = stock::find(&mut *connection, &name).await?.ok_or_else(|| not_found(&name))?;
                    let product = before.deleted(&stock, expected, now)?;
                    replace(connection, &before, &product).await?;
                    outbox.append(connection, now, &[events::product_deleted(&product)]).await?;
                    Ok(())
                })
            })
            .await?;
        Ok(())
    }

    async fn get(&self, names: &[ProductName]) -> Result<Vec<Product>, StoreError> {
        let ids: Vec<_> = names.iter().map(ProductName::id).collect();
        let ids = serde_json::to_string(&ids).map_err(damaged)?;
        let rows: Vec<ProductRow> =
            sqlx::query_as("SELECT * FROM product WHERE deleted_at IS NULL AND id IN (SELECT value FROM json_each(?))")
                .bind(ids)
                .fetch_all(self.db.reader())
                .await?;
        let found = rows.into_iter().map(Product::try_from).collect::<Result<Vec<_>, _>>()?;
        let of_name = |name: &ProductName| found.iter().find(|product| product.name == *name).cloned();
        names.iter().map(|name| of_name(name).ok_or_else(|| not_found(name))).collect()
    }

    async fn list(&self, page: &PageRequest) -> Result<Page<Product>, StoreError> {
        // Nothing is older than the beginning of time, and no id is less than an empty one.
        let (created_at, id) = place(page)?.unwrap_or((i64::MIN, ""));
        let rows: Vec<ProductRow> = sqlx::query_as(
            "SELECT * FROM product WHERE deleted_at IS NULL AND (created_at, id) > (?, ?) ORDER BY created_at, id LIMIT ?",
        )
        .bind(created_at)
        .bind(id)
        .bind(limit(page))
        .fetch_all(self.db.reader())
        .await?;
        let products = rows.into_iter().map(Product::try_from).collect::<Result<Vec<_>, _>>()?;
        Ok(Page::cut(products, page.size, |product| cursor(product.created_at, product.name.id())))
    }
}

fn not_found(name: &ProductName) -> StoreError {
    Refusal::ProductNotFound { product: name.clone() }.into()
}

/// A product, though it may have been deleted.
async fn find(connection: &mut SqliteConnection, name: &ProductName) -> Result<Product, StoreError> {
    let row: Option<ProductRow> =
        sqlx::query_as("SELECT * FROM product WHERE id = ?").bind(name.id()).fetch_optional(connection).await?;
    row.ok_or_else(|| not_found(name))?.try_into()
}

async fn create(
    connection: &mut SqliteConnection,
    outbox: &Outbox,
    product: Product,
    request: Option<&RequestKey>,
) -> Result<Answer<Product>, StoreError> {
    if let Some(row) = answer_before::<ProductRow>(connection, request).await? {
        return Ok(Answer { value: row.try_into()?, replayed: true });
    }
    let row = ProductRow::from(&product);
    let added = sqlx::query(
        "INSERT INTO product (id, display_name, description, currency, price, created_at, updated_at, version) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(&row.id)
    .bind(&row.display_name)
    .bind(&row.description)
    .bind(&row.currency)
    .bind(row.price)
    .bind(row.created_at)
    .bind(row.updated_at)
    .bind(row.version)
    .execute(&mut *connection)
    .await?;
    if added.rows_affected() == 0 {
        return Err(Refusal::ProductIdTaken { product: product.name }.into());
    }
    stock::open(connection, &product.name, product.created_at).await?;
    keep_answer(connection, request, &row).await?;
    outbox.append(connection, product.created_at, &[events::product_created(&product)]).await?;
    Ok(Answer { value: product, replayed: false })
}

/// Writes `after` in place of `before`, and only of it.
async fn replace(connection: &mut SqliteConnection, before: &Product, after: &Product) -> Result<(), StoreError> {
    let row = ProductRow::from(after);
    let replaced = sqlx::query(
        "UPDATE product SET display_name = ?, description = ?, currency = ?, price = ?, updated_at = ?, deleted_at = ?, \
         version = ? WHERE id = ? AND version = ?",
    )
    .bind(&row.display_name)
    .bind(&row.description)
    .bind(&row.currency)
    .bind(row.price)
    .bind(row.updated_at)
    .bind(row.deleted_at)
    .bind(row.version)
    .bind(&row.id)
    .bind(before.version)
    .execute(connection)
    .await?;
    match replaced.rows_affected() {
        1 => Ok(()),
        _ => Err(damaged(format_args!("{} has changed under the writer", before.name))),
    }
}
