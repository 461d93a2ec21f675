//! Finding an account by its address where the claim on that can't be asked.

use meshwork_sql::Freshness;
use sqlx::AssertSqlSafe;

use super::super::USERS;
use super::super::undo::Undo;
use super::store::Store;
use super::{not_foreign, rows};
use crate::ports::{Account, StoreError};

impl Store {
    /// The living account whose address has this key that belongs to this database. That there is none here tells nothing
    /// about other databases.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn search(&self, key: String) -> Result<Option<Account>, StoreError> {
        let read = self.db.read(Freshness::Latest, key, |connection, key| {
            Box::pin(async move {
                let own = not_foreign("users.slot", "users.id", USERS);
                let sql = format!("SELECT * FROM users WHERE email_key = $1 AND delete_time IS NULL AND {own}");
                let row = sqlx::query(AssertSqlSafe(sql)).bind(key).fetch_optional(connection).await?;
                Ok::<_, Undo>(row.as_ref().map(rows::account).transpose()?)
            })
        });
        Ok(read.await?)
    }
}
