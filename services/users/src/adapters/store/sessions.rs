//! The sessions.

use meshwork_api::{SessionName, UserName};
use meshwork_sql::shards::Place;
use meshwork_sql::{Freshness, from_micros, to_micros};
use sqlx::{AssertSqlSafe, Row as _};
use time::OffsetDateTime;

use super::super::undo::Undo;
use super::super::{USERS, slot};
use super::store::Store;
use super::{Connection, FOR_UPDATE, Row, SKIP_LOCKED, check_owned, not_foreign, owned, rows};
use crate::domain::{Presented, RefreshToken, Session, TokenDigest, TokenSalt, User};
use crate::ports::{ActiveSession, NewSession, NewToken, Renewal, StoreError, Successor};

impl Store {
    /// Opens a session if the account, whose piece is `place`, lives and still has the password that was verified.
    ///
    /// # Errors
    /// When the store fails, or the account doesn't belong here.
    pub async fn open_session(&self, place: Place, session: NewSession) -> Result<bool, StoreError> {
        let places = [place];
        let opened = self.db.write_at(&places, session, |connection, session| Box::pin(open(connection, session)));
        Ok(opened.await?)
    }

    /// Uses a token up and puts the next in its place, or finds the next of one that may give it again.
    ///
    /// # Errors
    /// As [`Store::open_session`].
    pub async fn renew_session(
        &self,
        place: Place,
        presented: TokenDigest,
        next: NewToken,
        now: OffsetDateTime,
    ) -> Result<Renewal, StoreError> {
        let places = [place];
        let renewed = self.db.write_at(&places, (presented, next, now), |connection, (presented, next, now)| {
            Box::pin(async move {
                match find(connection, *presented).await? {
                    Some(known) => renew(connection, known, *next, *now).await,
                    None => Ok(Renewal::Unknown),
                }
            })
        });
        Ok(renewed.await?)
    }

    /// Ends the session of a token.
    ///
    /// # Errors
    /// As [`Store::open_session`].
    pub async fn end_session(&self, place: Place, presented: TokenDigest) -> Result<(), StoreError> {
        let places = [place];
        let ended = self.db.write_at(&places, presented, |connection, presented| {
            Box::pin(async move {
                let sql = "DELETE FROM sessions WHERE id = (SELECT session_id FROM refresh_tokens WHERE digest = $1)";
                sqlx::query(sql).bind(presented.0.as_slice()).execute(connection).await?;
                Ok::<_, Undo>(())
            })
        });
        Ok(ended.await?)
    }

    /// Up to `limit` of the sessions of an account that have not expired at `now`, by their ids, from behind `after` on.
    ///
    /// # Errors
    /// As [`Store::open_session`].
    pub async fn sessions_of(
        &self,
        place: Place,
        user: UserName,
        limit: usize,
        after: String,
        now: OffsetDateTime,
    ) -> Result<Vec<Session>, StoreError> {
        let input = (place, user, i64::try_from(limit).unwrap_or(i64::MAX), after, to_micros(now));
        let read = self.db.read(Freshness::Latest, input, |connection, (place, user, limit, after, now)| {
            Box::pin(async move {
                let sql = format!(
                    "SELECT id, create_time, refresh_time, expire_time FROM sessions \
                     WHERE user_id = $1 AND id > $2 AND expire_time > $3 AND {} ORDER BY id LIMIT $4",
                    owned(5)
                );
                let rows = sqlx::query(AssertSqlSafe(sql))
                    .bind(user.id())
                    .bind(after.as_str())
                    .bind(*now)
                    .bind(*limit)
                    .bind(i64::from(place.space))
                    .bind(i64::from(place.piece))
                    .bind(place.version)
                    .fetch_all(&mut *connection)
                    .await?;
                if rows.is_empty() {
                    check_owned(connection, *place).await?;
                }
                rows.iter().map(|row| session(row, user)).collect::<Result<Vec<_>, Undo>>()
            })
        });
        Ok(read.await?)
    }

    /// Ends a session of an account by its id.
    ///
    /// # Errors
    /// As [`Store::open_session`].
    pub async fn revoke_session_at(&self, place: Place, name: SessionName) -> Result<(), StoreError> {
        let places = [place];
        let ended = self.db.write_at(&places, name, |connection, name| {
            Box::pin(async move {
                sqlx::query("DELETE FROM sessions WHERE id = $1 AND user_id = $2")
                    .bind(name.id())
                    .bind(name.user().id())
                    .execute(connection)
                    .await?;
                Ok::<_, Undo>(())
            })
        });
        Ok(ended.await?)
    }

    /// Drops up to `limit` sessions and up to `limit` tokens that had expired at `now`. Returns whether there may be more.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn prune_sessions(&self, now: OffsetDateTime, limit: u32) -> Result<bool, StoreError> {
        let input = (to_micros(now), i64::from(limit));
        let sessions = self
            .db
            .write(input, |connection, (now, limit)| Box::pin(prune(connection, "sessions", "id", *now, *limit)));
        let sessions = sessions.await?;
        // A transaction of its own: who ends a session locks it first and its tokens then.
        let tokens = self.db.write(input, |connection, (now, limit)| {
            Box::pin(prune(connection, "refresh_tokens", "digest", *now, *limit))
        });
        let full = |dropped: u64| dropped >= u64::from(limit);
        Ok(full(sessions) || full(tokens.await?))
    }
}

/// Drops rows that had expired at `now`, but for those that others are at, and those that are only being moved here.
async fn prune(
    connection: &mut Connection,
    table: &'static str,
    key: &'static str,
    now: i64,
    limit: i64,
) -> Result<u64, Undo> {
    let own = not_foreign(&format!("{table}.slot"), &format!("{table}.user_id"), USERS);
    let sql = format!(
        "WITH old AS MATERIALIZED (SELECT {key} FROM {table} WHERE expire_time <= $1 AND {own} \
         ORDER BY expire_time LIMIT $2{SKIP_LOCKED}) DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM old)"
    );
    let dropped = sqlx::query(AssertSqlSafe(sql)).bind(now).bind(limit).execute(connection).await?;
    Ok(dropped.rows_affected())
}

async fn open(connection: &mut Connection, session: &NewSession) -> Result<bool, Undo> {
    // Locked, so that a change of the password that has begun is waited for, and ends the sessions that it finds.
    let sql = format!("SELECT id FROM users WHERE id = $1 AND password_hash = $2 AND delete_time IS NULL{FOR_UPDATE}");
    let account = sqlx::query(AssertSqlSafe(sql))
        .bind(session.user.id())
        .bind(session.verified.as_str())
        .fetch_optional(&mut *connection)
        .await?;
    if account.is_none() {
        return Ok(false);
    }
    let id = session.id.to_string();
    sqlx::query("INSERT INTO sessions (id, user_id, expire_time, slot, create_time) VALUES ($1, $2, $3, $4, $5)")
        .bind(&id)
        .bind(session.user.id())
        .bind(to_micros(session.token.expire_time))
        .bind(slot(session.user.id()))
        .bind(to_micros(session.create_time))
        .execute(&mut *connection)
        .await?;
    insert_token(connection, &id, &session.user, session.token).await?;
    Ok(true)
}

/// The session in a row of `sessions`.
fn session(row: &Row, user: &UserName) -> Result<Session, Undo> {
    let id: String = row.try_get("id")?;
    Ok(Session {
        name: SessionName::new(user.clone(), id).map_err(StoreError::damaged)?,
        create_time: known_time(row, "create_time")?,
        refresh_time: known_time(row, "refresh_time")?,
        expire_time: from_micros(row.try_get("expire_time")?),
    })
}

/// The time in a column, which has 0 where none was kept.
fn known_time(row: &Row, column: &str) -> Result<Option<OffsetDateTime>, Undo> {
    let micros: i64 = row.try_get(column)?;
    Ok((micros != 0).then(|| from_micros(micros)))
}

/// A token that is known.
pub(super) struct TokenRecord {
    digest: TokenDigest,
    token: RefreshToken,
    /// The token that followed, and by which salt it did, if it may be given again.
    successor: Option<(TokenDigest, TokenSalt)>,
    session: String,
    user: User,
}

/// What is known of a token, whose session nobody else changes until the transaction's end.
pub(super) async fn find(connection: &mut Connection, presented: TokenDigest) -> Result<Option<TokenRecord>, Undo> {
    // By a statement of its own: what is read of the token next is what those have left who had the session before.
    let sql = format!(
        "SELECT id FROM sessions WHERE id = (SELECT session_id FROM refresh_tokens WHERE digest = $1){FOR_UPDATE}"
    );
    let session = sqlx::query(AssertSqlSafe(sql)).bind(presented.0.as_slice()).fetch_optional(&mut *connection).await?;
    if session.is_none() {
        return Ok(None);
    }
    let row = sqlx::query(
        "SELECT users.*, refresh_tokens.session_id, refresh_tokens.expire_time, refresh_tokens.used, \
         refresh_tokens.successor, refresh_tokens.salt, refresh_tokens.repeat_until \
         FROM refresh_tokens JOIN sessions ON sessions.id = refresh_tokens.session_id \
         JOIN users ON users.id = sessions.user_id WHERE refresh_tokens.digest = $1",
    )
    .bind(presented.0.as_slice())
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let token = RefreshToken {
        expire_time: from_micros(row.try_get("expire_time")?),
        used: row.try_get("used")?,
        repeat_until: row.try_get::<Option<i64>, _>("repeat_until")?.map(from_micros),
    };
    let successor = bytes(&row, "successor")?.map(TokenDigest).zip(bytes(&row, "salt")?.map(TokenSalt));
    let (session, user) = (row.try_get("session_id")?, rows::user(&row)?);
    Ok(Some(TokenRecord { digest: presented, token, successor, session, user }))
}

/// The bytes of a column; `None` when there are none, or not so many.
fn bytes<const N: usize>(row: &Row, column: &str) -> Result<Option<[u8; N]>, Undo> {
    let bytes: Option<Vec<u8>> = row.try_get(column)?;
    Ok(bytes.and_then(|bytes| bytes.try_into().ok()))
}

/// Does what a token calls for.
pub(super) async fn renew(
    connection: &mut Connection,
    known: TokenRecord,
    next: NewToken,
    now: OffsetDateTime,
) -> Result<Renewal, Undo> {
    match known.token.present(now) {
        Presented::Expired => return Ok(Renewal::Expired),
        Presented::Repeat => return repeat(connection, known, now).await,
        Presented::Reused => return end_reused(connection, known).await,
        Presented::Renew => {}
    }
    if !use_up(connection, known.digest, next).await? {
        // It came another time since it was read, and that one was first.
        return match find(connection, known.digest).await? {
            Some(known) if known.token.present(now) == Presented::Repeat => repeat(connection, known, now).await,
            Some(known) => end_reused(connection, known).await,
            None => Ok(Renewal::Unknown),
        };
    }
    sqlx::query("UPDATE sessions SET expire_time = $1, refresh_time = $2 WHERE id = $3")
        .bind(to_micros(next.expire_time))
        .bind(to_micros(now))
        .bind(&known.session)
        .execute(&mut *connection)
        .await?;
    insert_token(connection, &known.session, &known.user.name, next).await?;
    Ok(Renewal::Renewed(ActiveSession { id: known.session, user: known.user }))
}

/// Finds the token that has followed upon one that came again; if that was used, or has expired, the one that came is a copy.
async fn repeat(connection: &mut Connection, known: TokenRecord, now: OffsetDateTime) -> Result<Renewal, Undo> {
    let Some((digest, salt)) = known.successor else { return end_reused(connection, known).await };
    // Written, though nothing changes: who uses it at this moment is waited for, and comes first.
    let sql = "UPDATE refresh_tokens SET slot = slot WHERE digest = $1 AND session_id = $2 AND used = FALSE \
               AND expire_time > $3 RETURNING expire_time";
    let unused = sqlx::query(sql)
        .bind(digest.0.as_slice())
        .bind(&known.session)
        .bind(to_micros(now))
        .fetch_optional(&mut *connection)
        .await?;
    let Some(unused) = unused else { return end_reused(connection, known).await };
    let successor = Successor { digest, salt, expire_time: from_micros(unused.try_get("expire_time")?) };
    Ok(Renewal::Repeated(ActiveSession { id: known.session, user: known.user }, successor))
}

/// Uses a token up for the next; returns whether it was still to be used.
async fn use_up(connection: &mut Connection, digest: TokenDigest, next: NewToken) -> Result<bool, Undo> {
    let sql = "UPDATE refresh_tokens SET used = TRUE, successor = $1, salt = $2, repeat_until = $3 \
               WHERE digest = $4 AND used = FALSE";
    let used = sqlx::query(sql)
        .bind(next.repeat.map(|_| next.digest.0.to_vec()))
        .bind(next.repeat.map(|repeat| repeat.salt.0.to_vec()))
        .bind(next.repeat.map(|repeat| to_micros(repeat.until)))
        .bind(digest.0.as_slice())
        .execute(connection)
        .await?;
    Ok(used.rows_affected() == 1)
}

async fn insert_token(
    connection: &mut Connection,
    session: &str,
    user: &UserName,
    token: NewToken,
) -> Result<(), Undo> {
    sqlx::query(
        "INSERT INTO refresh_tokens (digest, session_id, expire_time, used, user_id, slot) \
         VALUES ($1, $2, $3, FALSE, $4, $5)",
    )
    .bind(token.digest.0.as_slice())
    .bind(session)
    .bind(to_micros(token.expire_time))
    .bind(user.id())
    .bind(slot(user.id()))
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends the session of a token that has been used before; its tokens go with it. If it has ended meanwhile, the token is as
/// good as unknown.
async fn end_reused(connection: &mut Connection, known: TokenRecord) -> Result<Renewal, Undo> {
    let ended = sqlx::query("DELETE FROM sessions WHERE id = $1").bind(&known.session).execute(connection).await?;
    Ok(if ended.rows_affected() == 1 { Renewal::Reused(known.user) } else { Renewal::Unknown })
}
