//! Deletes the rows of the pieces in a database that doesn't own them, children first.

use sqlx::postgres::PgConnection;

use super::owned::{any_owned, lock};
use super::pieces::{Parts, statement};
use super::session::{STATEMENT, transaction};
use super::tables::Table;
use crate::Error;

/// How a chunk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deleted {
    /// So many rows were deleted.
    Rows(u64),
    /// The database owns this piece: nothing was deleted.
    Owned(i32),
}

/// Deletes some rows of a table. No owner can come in between: the pieces' locks are held, and who becomes the owner is known
/// in the same transaction.
pub(super) async fn delete_some(
    connection: &mut PgConnection,
    table: &Table,
    parts: &Parts,
    chunk: i64,
) -> Result<Deleted, Error> {
    let mut transaction = transaction(connection, STATEMENT).await?;
    lock(&mut transaction, parts).await?;
    if let Some(piece) = any_owned(&mut transaction, parts).await? {
        transaction.rollback().await?;
        return Ok(Deleted::Owned(piece));
    }
    let delete = parts.bind(statement(table.delete_some())).bind(chunk);
    let deleted = delete.execute(&mut *transaction).await?.rows_affected();
    transaction.commit().await?;
    Ok(Deleted::Rows(deleted))
}
