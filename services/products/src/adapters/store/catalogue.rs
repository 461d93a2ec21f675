//! The products.

use async_trait::async_trait;
use meshwork_aip::page::{Page, PageRequest};
use meshwork_api::ProductName;
use meshwork_chassis::consistency::{Freshness, WalPosition};
use meshwork_chassis::request::RequestKey;
use prost::Message as _;
use sqlx::{AssertSqlSafe, FromRow as _, QueryBuilder, Row as _};

use super::super::rows::{ProductRow, cursor, limit, place};
use super::super::undo::Undo;
use super::store::{Store, answer_before, keep_answer};
use super::{Connection, Driver, FOR_UPDATE, Row, moment, stock};
use crate::adapters::{convert, events};
use crate::domain::{NewProduct, Product, ProductChange, Refusal};
use crate::ports::{Answer, Catalogue, StoreError};

#[async_trait]
impl Catalogue for Store {
    async fn create(&self, product: NewProduct, request: Option<RequestKey>) -> Result<Answer<Product>, StoreError> {
        let input = (self.clone(), product, request);
        let created = self.db.write(input, |connection, (store, product, request)| {
            Box::pin(create(connection, store, product, request.as_ref()))
        });
        Ok(created.await?)
    }

    async fn update(
        &self,
        name: ProductName,
        change: ProductChange,
        expected: Option<i64>,
    ) -> Result<Product, StoreError> {
        let input = (self.clone(), name, change, expected);
        let updated = self.db.write(input, |connection, (store, name, change, expected)| {
            Box::pin(update(connection, store, name, change, *expected))
        });
        Ok(updated.await?)
    }

    async fn delete(&self, name: ProductName, expected: Option<i64>) -> Result<Product, StoreError> {
        let input = (self.clone(), name, expected);
        let deleted = self
            .db
            .write(input, |connection, (store, name, expected)| Box::pin(delete(connection, store, name, *expected)));
        Ok(deleted.await?)
    }

    async fn get(&self, names: &[ProductName], freshness: Freshness) -> Result<Vec<Product>, StoreError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.db.read(freshness, names.to_vec(), |connection, names| Box::pin(find(connection, names)));
        Ok(found.await?)
    }

    async fn list(&self, page: &PageRequest, freshness: Freshness) -> Result<Page<Product>, StoreError> {
        let found = self.db.read(freshness, page.clone(), |connection, page| Box::pin(list(connection, page)));
        Ok(found.await?)
    }

    async fn position(&self) -> Option<WalPosition> {
        self.db.position().await
    }
}

async fn find(connection: &mut Connection, names: &[ProductName]) -> Result<Vec<Product>, Undo> {
    let mut sql = QueryBuilder::<Driver>::new("SELECT * FROM product WHERE deleted_at IS NULL AND id IN (");
    let mut ids = sql.separated(", ");
    for name in names {
        ids.push_bind(name.id());
    }
    sql.push(")");
    let rows: Vec<ProductRow> = sql.build_query_as().fetch_all(connection).await?;
    let found = rows.into_iter().map(Product::try_from).collect::<Result<Vec<_>, _>>()?;
    let of_name = |name: &ProductName| found.iter().find(|product| product.name == *name).cloned();
    names.iter().map(|name| of_name(name).ok_or_else(|| not_found(name).into())).collect()
}

async fn list(connection: &mut Connection, page: &PageRequest) -> Result<Page<Product>, Undo> {
    // Nothing is older than the beginning of time, and no id is less than an empty one.
    let (created_at, id) = place(page)?.unwrap_or((i64::MIN, ""));
    let rows = sqlx::query(
        "SELECT * FROM product WHERE deleted_at IS NULL AND (created_at, id) > ($1, $2) \
         ORDER BY created_at, id LIMIT $3",
    )
    .bind(created_at)
    .bind(id)
    .bind(limit(page))
    .fetch_all(connection)
    .await?;
    let rows = rows.iter().map(listed).collect::<Result<Vec<_>, _>>()?;
    let bytes =
        |product: &Option<Product>| product.as_ref().map_or(0, |product| convert::product(product).encoded_len());
    let Page { items, next } = Page::cut(rows, page.size, |(cursor, _)| cursor.clone(), |(_, product)| bytes(product));
    Ok(Page { items: items.into_iter().filter_map(|(_, product)| product).collect(), next })
}

/// Where a list goes on behind a row, and its product, unless that can't be read.
fn listed(row: &Row) -> Result<(String, Option<Product>), sqlx::Error> {
    let (id, created_at): (String, i64) = (row.try_get("id")?, row.try_get("created_at")?);
    let product = ProductRow::from_row(row).map_err(StoreError::from).and_then(Product::try_from);
    if let Err(error) = &product {
        tracing::error!(product = id, %error, "a product can't be read; lists leave it out");
    }
    Ok((cursor(created_at, &id), product.ok()))
}

fn not_found(name: &ProductName) -> Refusal {
    Refusal::ProductNotFound { product: name.clone() }
}

/// A product, though it may have been deleted, which nobody else changes until the transaction's end.
async fn lock(connection: &mut Connection, name: &ProductName) -> Result<Product, Undo> {
    let sql = format!("SELECT * FROM product WHERE id = $1{FOR_UPDATE}");
    let row: Option<ProductRow> = sqlx::query_as(AssertSqlSafe(sql)).bind(name.id()).fetch_optional(connection).await?;
    Ok(row.ok_or_else(|| not_found(name))?.try_into()?)
}

async fn create(
    connection: &mut Connection,
    store: &Store,
    product: &NewProduct,
    request: Option<&RequestKey>,
) -> Result<Answer<Product>, Undo> {
    if let Some(row) = answer_before::<ProductRow>(connection, request).await? {
        return Ok(Answer { value: row.try_into()?, replayed: true });
    }
    let now = moment::now(connection).await?;
    let product = Product::new(product.clone(), now);
    let row = ProductRow::from(&product);
    let added = sqlx::query(
        "INSERT INTO product (id, display_name, description, currency, price, created_at, updated_at, version) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
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
        // The same request may have come twice at once, and the other one was waited for.
        return match answer_before::<ProductRow>(connection, request).await? {
            Some(row) => Ok(Answer { value: row.try_into()?, replayed: true }),
            None => Err(Refusal::ProductIdTaken { product: product.name }.into()),
        };
    }
    stock::open(connection, &product.name, now).await?;
    keep_answer(connection, request, &row).await?;
    store.outbox.append(connection, now, &[events::product_created(&product)]).await?;
    Ok(Answer { value: product, replayed: false })
}

async fn update(
    connection: &mut Connection,
    store: &Store,
    name: &ProductName,
    change: &ProductChange,
    expected: Option<i64>,
) -> Result<Product, Undo> {
    let before = lock(connection, name).await?;
    let now = moment::now(connection).await?;
    let product = before.changed(change.clone(), expected, now)?;
    replace(connection, &before, &product).await?;
    store.outbox.append(connection, now, &[events::product_updated(&product)]).await?;
    Ok(product)
}

async fn delete(
    connection: &mut Connection,
    store: &Store,
    name: &ProductName,
    expected: Option<i64>,
) -> Result<Product, Undo> {
    let before = lock(connection, name).await?;
    let stock = stock::lock(connection, name).await?.ok_or_else(|| not_found(name))?;
    let now = moment::now(connection).await?;
    let product = before.deleted(&stock, expected, now)?;
    if !stock::close(connection, name, now).await? {
        return Err(Undo::conflict(format_args!("the stock of {name}")));
    }
    replace(connection, &before, &product).await?;
    store.outbox.append(connection, now, &[events::product_deleted(&product)]).await?;
    Ok(product)
}

/// Writes `after` in place of `before`, and only of it.
async fn replace(connection: &mut Connection, before: &Product, after: &Product) -> Result<(), Undo> {
    let row = ProductRow::from(after);
    let replaced = sqlx::query(
        "UPDATE product SET display_name = $1, description = $2, currency = $3, price = $4, updated_at = $5, \
         deleted_at = $6, version = $7 WHERE id = $8 AND version = $9",
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
        _ => Err(Undo::conflict(&before.name)),
    }
}
