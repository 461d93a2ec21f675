//! What is to be erased, and what goes with it.

use meshwork_api::UserName;
use meshwork_sql::{Freshness, to_micros};
use sqlx::{AssertSqlSafe, Row as _};
use time::OffsetDateTime;

use super::super::USERS;
use super::super::undo::Undo;
use super::store::Store;
use super::{Connection, not_foreign};
use crate::ports::StoreError;

impl Store {
    /// Up to `limit` accounts that belong here, were deleted at `before` or earlier and aren't erased, the first deleted first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn erasable(&self, before: OffsetDateTime, limit: usize) -> Result<Vec<UserName>, StoreError> {
        let input = (to_micros(before), i64::try_from(limit).unwrap_or(i64::MAX));
        let read = self.db.read(Freshness::Latest, input, |connection, (before, limit)| {
            Box::pin(async move {
                let sql = format!(
                    "SELECT id FROM users WHERE delete_time <= $1 AND erase_time IS NULL AND {} \
                     ORDER BY delete_time LIMIT $2",
                    not_foreign("users.slot", "users.id", USERS)
                );
                let rows = sqlx::query(AssertSqlSafe(sql)).bind(*before).bind(*limit).fetch_all(connection).await?;
                let names = rows.iter().map(|row| {
                    let id: String = row.try_get("id")?;
                    Ok::<_, Undo>(UserName::new(id).map_err(StoreError::damaged)?)
                });
                names.collect::<Result<Vec<_>, _>>()
            })
        });
        Ok(read.await?)
    }
}

/// Drops the answers to the requests that have made an account, which hold it as it was then.
pub(super) async fn drop_answers(connection: &mut Connection, user: &UserName) -> Result<(), Undo> {
    sqlx::query("DELETE FROM replay WHERE key = $1").bind(user.id()).execute(connection).await?;
    Ok(())
}

/// Drops the keys of an account, whose names are its owner's words.
pub(super) async fn drop_keys(connection: &mut Connection, user: &UserName) -> Result<(), Undo> {
    sqlx::query("DELETE FROM api_keys WHERE user_id = $1").bind(user.id()).execute(connection).await?;
    Ok(())
}
