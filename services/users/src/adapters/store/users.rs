//! Reading accounts.

use meshwork_api::UserName;
use meshwork_sql::Freshness;
use meshwork_sql::shards::Place;
use sqlx::{AssertSqlSafe, QueryBuilder, Row as _};

use super::super::USERS;
use super::super::outcome::Part;
use super::super::undo::Undo;
use super::store::Store;
use super::{Connection, Driver, Row, check_owned, map_mark, not_foreign, owned, rows};
use crate::domain::User;
use crate::ports::{Account, StoreError, UserCursor, UserFilter};

impl Store {
    /// An account, whose piece is `place`; a deleted one too.
    ///
    /// # Errors
    /// When the store fails, or the account doesn't belong here.
    pub async fn get(&self, place: Place, name: UserName, freshness: Freshness) -> Result<Option<User>, StoreError> {
        let read = self.db.read(freshness, (place, name), |connection, (place, name)| {
            Box::pin(async move {
                let row = row(connection, *place, name).await?;
                Ok::<_, Undo>(row.as_ref().map(rows::user).transpose()?)
            })
        });
        Ok(read.await?)
    }

    /// An account as it is now with what is kept of its password, whose piece is `place`; a deleted one too.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn account(&self, place: Place, name: UserName) -> Result<Option<Account>, StoreError> {
        let read = self.db.read(Freshness::Latest, (place, name), |connection, (place, name)| {
            Box::pin(async move {
                let row = row(connection, *place, name).await?;
                Ok::<_, Undo>(row.as_ref().map(rows::account).transpose()?)
            })
        });
        Ok(read.await?)
    }

    /// Whether the piece `place` is this database's, as it is now.
    ///
    /// # Errors
    /// When the store fails; [`StoreError::Misplaced`] when it isn't.
    pub async fn check(&self, place: Place) -> Result<(), StoreError> {
        let read = self.db.read(Freshness::Latest, place, |connection, place| {
            Box::pin(async move { check_owned(connection, *place).await.map_err(Undo::from) })
        });
        Ok(read.await?)
    }

    /// Up to `limit` of the accounts that belong here, the oldest first; the filter's address is left out of account.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(
        &self,
        filter: UserFilter,
        limit: usize,
        after: Option<UserCursor>,
        freshness: Freshness,
    ) -> Result<Part, StoreError> {
        let read = self.db.read(freshness, (filter, limit, after), |connection, (filter, limit, after)| {
            Box::pin(list(connection, filter, *limit, after.as_ref()))
        });
        Ok(read.await?)
    }
}

/// The row of an account that is this database's.
async fn row(connection: &mut Connection, place: Place, name: &UserName) -> Result<Option<Row>, Undo> {
    let sql = format!("SELECT * FROM users WHERE id = $1 AND {}", owned(2));
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(name.id())
        .bind(i64::from(place.space))
        .bind(i64::from(place.piece))
        .bind(place.version)
        .fetch_optional(&mut *connection)
        .await?;
    if row.is_none() {
        check_owned(connection, place).await?;
    }
    Ok(row)
}

async fn list(
    connection: &mut Connection,
    filter: &UserFilter,
    limit: usize,
    after: Option<&UserCursor>,
) -> Result<Part, Undo> {
    // Each statement sees a moment of its own: between two that see the same map, nothing has come or gone by a move.
    let before = map_mark(connection).await?;
    let mut query = QueryBuilder::<Driver>::new("SELECT * FROM users WHERE ");
    query.push(not_foreign("users.slot", "users.id", USERS));
    if let Some(role) = filter.role {
        query.push(" AND role = ").push_bind(role.as_str());
    }
    if !filter.show_deleted {
        query.push(" AND delete_time IS NULL");
    }
    if filter.non_ascii {
        query.push(" AND octet_length(email_key) <> length(email_key)");
    }
    if let Some(UserCursor { micros, id }) = after {
        query.push(" AND (create_time, id) > (").push_bind(*micros).push(", ").push_bind(id.clone()).push(")");
    }
    query.push(" ORDER BY create_time, id LIMIT ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let rows = query.build().fetch_all(&mut *connection).await?;
    let users = rows.iter().map(listed).collect::<Result<Vec<_>, _>>()?;
    let behind = map_mark(connection).await?;
    Ok(Part { users, mark: (before == behind).then_some(behind) })
}

/// The place of a row in the list, and its account, unless that can't be read.
fn listed(row: &Row) -> Result<(UserCursor, Option<User>), Undo> {
    let cursor = UserCursor { micros: row.try_get("create_time")?, id: row.try_get("id")? };
    Ok(match rows::user(row) {
        Ok(user) => (cursor, Some(user)),
        Err(error) => {
            tracing::error!(user = cursor.id, %error, "an account can't be read; lists leave it out");
            (cursor, None)
        }
    })
}
