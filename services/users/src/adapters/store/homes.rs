//! Which accounts requests are to make: a request's account may be in any shard, and this is where its id leads to it.

use meshwork_sql::Freshness;
use meshwork_sql::shards::Place;
use sqlx::{AssertSqlSafe, Row as _};

use super::super::outcome::{Assigned, Home};
use super::super::undo::Undo;
use super::super::{CLAIMS, slot};
use super::store::Store;
use super::{NOW, Row, SKIP_LOCKED, check_owned, not_foreign};
use crate::ports::StoreError;

/// For how long a home is kept since a request came last, in microseconds: longer than the answer to it.
const KEEP_HOMES: i64 = 48 * 3_600_000_000;

impl Store {
    /// The home of a request, whose piece is `place`.
    ///
    /// # Errors
    /// When the store fails, or the request doesn't belong here.
    pub async fn home(&self, place: Place, key: String) -> Result<Option<Home>, StoreError> {
        let read = self.db.read(Freshness::Latest, (place, key), |connection, (place, key)| {
            Box::pin(async move {
                let sql = "SELECT user_id, hash FROM request_homes WHERE key = $1";
                let row = sqlx::query(sql).bind(key).fetch_optional(&mut *connection).await?;
                check_owned(connection, *place).await?;
                Ok::<_, Undo>(row.as_ref().map(home).transpose()?)
            })
        });
        Ok(read.await?)
    }

    /// Gives a request this home unless it has one; returns the one that it has. Only the body that has it keeps it young.
    ///
    /// # Errors
    /// As [`Store::home`].
    pub async fn assign(&self, place: Place, key: String, new: Home) -> Result<Assigned, StoreError> {
        let places = [place];
        let assigned = self.db.write_at(&places, (key, new), |connection, (key, new)| {
            Box::pin(async move {
                let sql = format!(
                    "INSERT INTO request_homes AS h (key, hash, user_id, stored_at, refused, slot) \
                     VALUES ($1, $2, $3, {NOW}, FALSE, $4) ON CONFLICT (key) DO UPDATE SET \
                     stored_at = CASE WHEN h.hash = excluded.hash THEN {NOW} ELSE h.stored_at END, \
                     refused = h.refused AND h.hash <> excluded.hash \
                     RETURNING user_id, hash, refused, {NOW} - stored_at AS age"
                );
                let row = sqlx::query(AssertSqlSafe(sql))
                    .bind(key)
                    .bind(new.hash.as_slice())
                    .bind(&new.user)
                    .bind(slot(key))
                    .fetch_one(connection)
                    .await?;
                let (age, is_refused) = (row.try_get("age")?, row.try_get("refused")?);
                Ok::<_, Undo>(Assigned { home: home(&row)?, age, is_refused })
            })
        });
        Ok(assigned.await?)
    }

    /// Gives a request another home in place of the one that it has, and only of it; returns whether it did.
    ///
    /// # Errors
    /// As [`Store::home`].
    pub async fn reassign(&self, place: Place, key: String, old: Home, new: Home) -> Result<bool, StoreError> {
        let places = [place];
        let assigned = self.db.write_at(&places, (key, old, new), |connection, (key, old, new)| {
            Box::pin(async move {
                let sql = format!(
                    "UPDATE request_homes SET hash = $1, user_id = $2, stored_at = {NOW}, refused = FALSE \
                     WHERE key = $3 AND hash = $4 AND user_id = $5"
                );
                let assigned = sqlx::query(AssertSqlSafe(sql))
                    .bind(new.hash.as_slice())
                    .bind(&new.user)
                    .bind(key)
                    .bind(old.hash.as_slice())
                    .bind(&old.user)
                    .execute(connection)
                    .await?;
                Ok::<_, Undo>(assigned.rows_affected() == 1)
            })
        });
        Ok(assigned.await?)
    }

    /// Notes that a request was answered and has made no account, if it has this home.
    ///
    /// # Errors
    /// As [`Store::home`].
    pub async fn refuse(&self, place: Place, key: String, home: Home) -> Result<(), StoreError> {
        let places = [place];
        let refused = self.db.write_at(&places, (key, home), |connection, (key, home)| {
            Box::pin(async move {
                let sql = "UPDATE request_homes SET refused = TRUE WHERE key = $1 AND hash = $2 AND user_id = $3";
                sqlx::query(sql).bind(key).bind(home.hash.as_slice()).bind(&home.user).execute(connection).await?;
                Ok::<_, Undo>(())
            })
        });
        Ok(refused.await?)
    }

    /// Forgets up to `limit` homes of requests that nobody sends again. Returns whether there may be more.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn prune_homes(&self, limit: u32) -> Result<bool, StoreError> {
        let pruned = self.db.write(i64::from(limit), |connection, limit| {
            Box::pin(async move {
                let own = not_foreign("request_homes.slot", "request_homes.key", CLAIMS);
                let sql = format!(
                    "WITH old AS MATERIALIZED (SELECT key FROM request_homes WHERE stored_at < (SELECT {NOW}) - $1 \
                     AND {own} ORDER BY stored_at LIMIT $2{SKIP_LOCKED}) \
                     DELETE FROM request_homes WHERE key IN (SELECT key FROM old)"
                );
                let pruned = sqlx::query(AssertSqlSafe(sql)).bind(KEEP_HOMES).bind(*limit).execute(connection).await?;
                Ok::<_, Undo>(pruned.rows_affected())
            })
        });
        Ok(pruned.await? >= u64::from(limit))
    }
}

fn home(row: &Row) -> Result<Home, sqlx::Error> {
    Ok(Home { user: row.try_get("user_id")?, hash: row.try_get("hash")? })
}
