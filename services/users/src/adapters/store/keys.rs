//! The API keys.

use meshwork_api::{ApiKeyName, UserName};
use meshwork_sql::shards::Place;
use meshwork_sql::{Freshness, from_micros, to_micros};
use sqlx::{AssertSqlSafe, Row as _};
use time::OffsetDateTime;

use super::super::undo::Undo;
use super::super::{USERS, slot};
use super::store::Store;
use super::{Connection, FOR_UPDATE, Row, SKIP_LOCKED, check_owned, not_foreign, owned, rows};
use crate::domain::{ApiKey, DisplayName, KeyDigest, MAX_ENDED_KEYS, MAX_LIVE_KEYS, Scope, User};
use crate::ports::{KeyCreation, NewApiKey, StoreError};

/// The columns of a key, by names that those of its account don't have.
const COLUMNS: &str = "api_keys.id AS key_id, api_keys.display_name AS key_display_name, api_keys.scopes AS key_scopes, \
     api_keys.create_time AS key_create_time, api_keys.expire_time AS key_expire_time, \
     api_keys.revoke_time AS key_revoke_time";

impl Store {
    /// Stores a new key of an account, whose piece is `place`.
    ///
    /// # Errors
    /// When the store fails, or the account doesn't belong here.
    pub async fn create_key(&self, place: Place, new: NewApiKey) -> Result<KeyCreation, StoreError> {
        let places = [place];
        let created = self.db.write_at(&places, new, |connection, new| Box::pin(create(connection, new)));
        Ok(created.await?)
    }

    /// Up to `limit` keys of an account, by their ids, from behind `after` on.
    ///
    /// # Errors
    /// As [`Store::create_key`].
    pub async fn keys_of(
        &self,
        place: Place,
        user: UserName,
        limit: usize,
        after: String,
    ) -> Result<Vec<ApiKey>, StoreError> {
        let input = (place, user, i64::try_from(limit).unwrap_or(i64::MAX), after);
        let read = self.db.read(Freshness::Latest, input, |connection, (place, user, limit, after)| {
            Box::pin(async move {
                let sql = format!(
                    "SELECT {COLUMNS} FROM api_keys WHERE user_id = $1 AND id > $2 AND {} ORDER BY id LIMIT $3",
                    owned(4)
                );
                let rows = sqlx::query(AssertSqlSafe(sql))
                    .bind(user.id())
                    .bind(after.as_str())
                    .bind(*limit)
                    .bind(i64::from(place.space))
                    .bind(i64::from(place.piece))
                    .bind(place.version)
                    .fetch_all(&mut *connection)
                    .await?;
                if rows.is_empty() {
                    check_owned(connection, *place).await?;
                }
                rows.iter().map(|row| key(row, user)).collect::<Result<Vec<_>, Undo>>()
            })
        });
        Ok(read.await?)
    }

    /// A key by its name.
    ///
    /// # Errors
    /// As [`Store::create_key`].
    pub async fn key(&self, place: Place, name: ApiKeyName) -> Result<Option<ApiKey>, StoreError> {
        let read = self.db.read(Freshness::Latest, (place, name), |connection, (place, name)| {
            Box::pin(async move {
                let found = get(connection, name).await?;
                // Looked at behind the row: what is still owned then was owned all the while.
                check_owned(connection, *place).await?;
                Ok::<_, Undo>(found)
            })
        });
        Ok(read.await?)
    }

    /// Revokes a key by its name, and returns it as it is then.
    ///
    /// # Errors
    /// As [`Store::create_key`].
    pub async fn revoke_key_at(
        &self,
        place: Place,
        name: ApiKeyName,
        now: OffsetDateTime,
    ) -> Result<Option<ApiKey>, StoreError> {
        let places = [place];
        let revoked = self.db.write_at(&places, (name, to_micros(now)), |connection, (name, now)| {
            Box::pin(async move {
                let sql = "UPDATE api_keys SET revoke_time = $1, \
                           end_time = CASE WHEN end_time < $1 THEN end_time ELSE $1 END \
                           WHERE user_id = $2 AND id = $3 AND revoke_time IS NULL";
                sqlx::query(sql).bind(*now).bind(name.user().id()).bind(name.id()).execute(&mut *connection).await?;
                get(connection, name).await
            })
        });
        Ok(revoked.await?)
    }

    /// The key with a digest, and its account, whose piece is `place`.
    ///
    /// # Errors
    /// As [`Store::create_key`].
    pub async fn find_key_at(&self, place: Place, digest: KeyDigest) -> Result<Option<(ApiKey, User)>, StoreError> {
        let read = self.db.read(Freshness::Latest, (place, digest), |connection, (place, digest)| {
            Box::pin(async move {
                let sql = format!(
                    "SELECT users.*, {COLUMNS} FROM api_keys JOIN users ON users.id = api_keys.user_id \
                     WHERE api_keys.digest = $1"
                );
                let row = sqlx::query(AssertSqlSafe(sql)).bind(digest.0.as_slice());
                let row = row.fetch_optional(&mut *connection).await?;
                // As for one that isn't found, so that both are the same work.
                check_owned(connection, *place).await?;
                let Some(row) = row else { return Ok(None) };
                let user = rows::user(&row)?;
                Ok::<_, Undo>(Some((key(&row, &user.name)?, user)))
            })
        });
        Ok(read.await?)
    }

    /// Forgets up to `limit` keys that had ended at `before`. Returns whether there may be more.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn prune_ended_keys(&self, before: OffsetDateTime, limit: u32) -> Result<bool, StoreError> {
        let pruned = self.db.write((to_micros(before), i64::from(limit)), |connection, (before, limit)| {
            Box::pin(async move {
                let sql = format!(
                    "WITH old AS MATERIALIZED (SELECT digest FROM api_keys WHERE end_time <= $1 AND {} \
                     ORDER BY end_time LIMIT $2{SKIP_LOCKED}) \
                     DELETE FROM api_keys WHERE digest IN (SELECT digest FROM old)",
                    not_foreign("api_keys.slot", "api_keys.user_id", USERS)
                );
                let pruned = sqlx::query(AssertSqlSafe(sql)).bind(*before).bind(*limit).execute(connection).await?;
                Ok::<_, Undo>(pruned.rows_affected())
            })
        });
        Ok(pruned.await? >= u64::from(limit))
    }
}

async fn create(connection: &mut Connection, new: &NewApiKey) -> Result<KeyCreation, Undo> {
    let NewApiKey { key, digest } = new;
    let (user, now) = (key.name.user().id(), to_micros(key.create_time));
    // Locked, so that those who make keys of one account count one after the other.
    let sql = format!("SELECT id FROM users WHERE id = $1 AND delete_time IS NULL{FOR_UPDATE}");
    if sqlx::query(AssertSqlSafe(sql)).bind(user).fetch_optional(&mut *connection).await?.is_none() {
        return Ok(KeyCreation::NoAccount);
    }
    if get(connection, &key.name).await?.is_some() {
        return Ok(KeyCreation::IdTaken);
    }
    let live = sqlx::query("SELECT count(*) AS live FROM api_keys WHERE user_id = $1 AND end_time > $2")
        .bind(user)
        .bind(now)
        .fetch_one(&mut *connection)
        .await?;
    if live.try_get::<i64, _>("live")? >= count(MAX_LIVE_KEYS) {
        return Ok(KeyCreation::TooMany);
    }
    // As many as there can be, since this is seen to at each key that is made.
    let sql = "DELETE FROM api_keys WHERE digest IN (SELECT digest FROM api_keys WHERE user_id = $1 AND end_time <= $2 \
               ORDER BY end_time DESC, id LIMIT $3 OFFSET $4)";
    sqlx::query(sql)
        .bind(user)
        .bind(now)
        .bind(count(MAX_LIVE_KEYS + MAX_ENDED_KEYS))
        .bind(count(MAX_ENDED_KEYS))
        .execute(&mut *connection)
        .await?;
    let scopes = key.scopes.iter().map(Scope::as_str).collect::<Vec<_>>().join(" ");
    sqlx::query(
        "INSERT INTO api_keys (user_id, id, digest, display_name, scopes, create_time, expire_time, revoke_time, end_time, slot) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, NULL, $7, $8)",
    )
    .bind(user)
    .bind(key.name.id())
    .bind(digest.0.as_slice())
    .bind(key.display_name.as_str())
    .bind(scopes)
    .bind(now)
    .bind(to_micros(key.expire_time))
    .bind(slot(user))
    .execute(connection)
    .await?;
    Ok(KeyCreation::Created)
}

/// A bound as statements take it.
fn count(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

async fn get(connection: &mut Connection, name: &ApiKeyName) -> Result<Option<ApiKey>, Undo> {
    let sql = format!("SELECT {COLUMNS} FROM api_keys WHERE user_id = $1 AND id = $2");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(name.user().id()).bind(name.id()).fetch_optional(connection).await?;
    row.map(|row| key(&row, name.user())).transpose()
}

/// The key in a row of [`COLUMNS`].
fn key(row: &Row, user: &UserName) -> Result<ApiKey, Undo> {
    let id: String = row.try_get("key_id")?;
    let name = ApiKeyName::new(user.clone(), id).map_err(StoreError::damaged)?;
    let damaged =
        |what: &dyn std::fmt::Display| StoreError::damaged(format_args!("the row of {name} is damaged: {what}"));
    let display_name = DisplayName::stored(row.try_get("key_display_name")?).map_err(|problem| damaged(&problem))?;
    let scopes = row.try_get::<&str, _>("key_scopes")?.split_ascii_whitespace();
    let scopes = scopes.map(str::parse::<Scope>).collect::<Result<_, _>>().map_err(|problem| damaged(&problem))?;
    Ok(ApiKey {
        display_name,
        scopes,
        create_time: from_micros(row.try_get("key_create_time")?),
        expire_time: from_micros(row.try_get("key_expire_time")?),
        revoke_time: row.try_get::<Option<i64>, _>("key_revoke_time")?.map(from_micros),
        name,
    })
}
