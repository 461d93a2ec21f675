//! The time by the database's clock.

use meshwork_sql::from_micros;
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;

use super::{Connection, NOW};

/// The time now.
pub(super) async fn now(connection: &mut Connection) -> Result<OffsetDateTime, sqlx::Error> {
    let now: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT {NOW}"))).fetch_one(connection).await?;
    Ok(from_micros(now))
}
