//! The sessions.

use async_trait::async_trait;
use meshwork_sql::{from_micros, to_micros};
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;
use time::OffsetDateTime;

use super::{SqliteStore, rows};
use crate::domain::{Presented, RefreshToken, TokenDigest, User};
use crate::ports::{NewSession, NewToken, Renewal, SessionStore, StoreError};

#[async_trait]
impl SessionStore for SqliteStore {
    async fn open(&self, session: NewSession) -> Result<bool, StoreError> {
        self.db
            .write_once(move |connection| {
                Box::pin(async move {
                    let id = session.id.to_string();
                    let opened = sqlx::query(
                        "INSERT INTO sessions (id, user_id, expire_time) SELECT ?, id, ? FROM users \
                         WHERE id = ? AND password_hash = ? AND delete_time IS NULL",
                    )
                    .bind(&id)
                    .bind(to_micros(session.token.expire_time))
                    .bind(session.user.id())
                    .bind(session.verified.as_str())
                    .execute(&mut *connection)
                    .await?;
                    if opened.rows_affected() == 0 {
                        return Ok(false);
                    }
                    insert_token(connection, &id, session.token).await?;
                    Ok(true)
                })
            })
            .await
    }

    async fn renew(&self, presented: TokenDigest, next: NewToken, now: OffsetDateTime) -> Result<Renewal, StoreError> {
        self.db
            .write_once(move |connection| {
                Box::pin(async move {
                    match find(connection, presented).await? {
                        Some(known) => renew(connection, known, next, now).await,
                        None => Ok(Renewal::Unknown),
                    }
                })
            })
            .await
    }

    async fn end(&self, presented: TokenDigest) -> Result<(), StoreError> {
        self.db
            .write_once(move |connection| {
                Box::pin(async move {
                    sqlx::query(
                        "DELETE FROM sessions WHERE id = (SELECT session_id FROM refresh_tokens WHERE digest = ?)",
                    )
                    .bind(presented.0.as_slice())
                    .execute(connection)
                    .await?;
                    Ok(())
                })
            })
            .await
    }

    async fn prune(&self, now: OffsetDateTime, limit: u32) -> Result<bool, StoreError> {
        self.db
            .write_once(move |connection| {
                Box::pin(async move {
                    let sessions = sqlx::query(
                        "DELETE FROM sessions WHERE id IN \
                         (SELECT id FROM sessions WHERE expire_time <= ? ORDER BY expire_time LIMIT ?)",
                    )
                    .bind(to_micros(now))
                    .bind(limit)
                    .execute(&mut *connection)
                    .await?;
                    let tokens = sqlx::query(
                        "DELETE FROM refresh_tokens WHERE digest IN \
                         (SELECT digest FROM refresh_tokens WHERE expire_time <= ? ORDER BY expire_time LIMIT ?)",
                    )
                    .bind(to_micros(now))
                    .bind(limit)
                    .execute(connection)
                    .await?;
                    let full = |dropped: u64| dropped >= u64::from(limit);
                    Ok(full(sessions.rows_affected()) || full(tokens.rows_affected()))
                })
            })
            .await
    }
}

/// A token that is known.
pub(super) struct Known {
    digest: TokenDigest,
    token: RefreshToken,
    session: String,
    user: User,
}

/// What is known of a token.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    presented: TokenDigest,
) -> Result<Option<Known>, StoreError> {
    let row = sqlx::query(
        "SELECT users.*, refresh_tokens.session_id, refresh_tokens.expire_time, refresh_tokens.used \
         FROM refresh_tokens JOIN sessions ON sessions.id = refresh_tokens.session_id \
         JOIN users ON users.id = sessions.user_id WHERE refresh_tokens.digest = ?",
    )
    .bind(presented.0.as_slice())
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let token = RefreshToken { expire_time: from_micros(row.try_get("expire_time")?), used: row.try_get("used")? };
    Ok(Some(Known { digest: presented, token, session: row.try_get("session_id")?, user: rows::user(&row)? }))
}

/// Does what a token calls for.
pub(super) async fn renew(
    connection: &mut SqliteConnection,
    known: Known,
    next: NewToken,
    now: OffsetDateTime,
) -> Result<Renewal, StoreError> {
    match known.token.present(now) {
        Presented::Expired => return Ok(Renewal::Expired),
        Presented::Reused => return end_reused(connection, known).await,
        Presented::Renew => {}
    }
    if !use_up(connection, known.digest).await? {
        // It came another time since it was read, and that one was first.
        return end_reused(connection, known).await;
    }
    sqlx::query("UPDATE sessions SET expire_time = ? WHERE id = ?")
        .bind(to_micros(next.expire_time))
        .bind(&known.session)
        .execute(&mut *connection)
        .await?;
    insert_token(connection, &known.session, next).await?;
    Ok(Renewal::Renewed(known.user))
}

/// Uses a token up; returns whether it was still to be used.
async fn use_up(connection: &mut SqliteConnection, digest: TokenDigest) -> Result<bool, StoreError> {
    let used = sqlx::query("UPDATE refresh_tokens SET used = 1 WHERE digest = ? AND used = 0")
        .bind(digest.0.as_slice())
        .execute(connection)
        .await?;
    Ok(used.rows_affected() == 1)
}

async fn insert_token(connection: &mut SqliteConnection, session: &str, token: NewToken) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO refresh_tokens (digest, session_id, expire_time, used) VALUES (?, ?, ?, 0)")
        .bind(token.digest.0.as_slice())
        .bind(session)
        .bind(to_micros(token.expire_time))
        .execute(connection)
        .await?;
    Ok(())
}

/// Ends the session of a token that has been used before; its tokens go with it. If it has ended meanwhile, the token is as
/// good as unknown.
async fn end_reused(connection: &mut SqliteConnection, known: Known) -> Result<Renewal, StoreError> {
    let ended = sqlx::query("DELETE FROM sessions WHERE id = ?").bind(&known.session).execute(connection).await?;
    Ok(if ended.rows_affected() == 1 { Renewal::Reused(known.user) } else { Renewal::Unknown })
}
