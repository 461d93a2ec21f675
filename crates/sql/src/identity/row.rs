//! The row of the name.

use sqlx::Row as _;
use uuid::Uuid;

use super::{Connection, Database};
use crate::identity::digits;
use crate::{Error, bounded};

const READ: &str = "SELECT id FROM database_identity";

/// The name of a database that has the table of `COMPONENT`: 12 hexadecimal digits. Who asks first makes it; of several who come at
/// once, one does.
///
/// # Errors
/// What the read or the transaction met.
pub async fn identity(db: &Database) -> Result<String, Error> {
    if let Some(row) = bounded(sqlx::query(READ).fetch_optional(db.reader())).await? {
        return Ok(row.try_get(0)?);
    }
    db.write(digits(Uuid::new_v4()), |connection, id| Box::pin(make(connection, id))).await
}

async fn make(connection: &mut Connection, id: &str) -> Result<String, Error> {
    sqlx::query("INSERT INTO database_identity (one, id) VALUES (1, $1) ON CONFLICT DO NOTHING")
        .bind(id)
        .execute(&mut *connection)
        .await?;
    // A statement of its own: it sees what the other has made.
    Ok(sqlx::query(READ).fetch_one(connection).await?.try_get(0)?)
}
