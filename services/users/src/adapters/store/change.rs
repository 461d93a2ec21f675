//! Changing accounts.

use std::sync::Arc;

use meshwork_api::UserName;
use meshwork_sql::shards::Place;
use meshwork_sql::to_micros;
use sqlx::{AssertSqlSafe, Row as _};

use super::super::outcome::{Changing, Claim, Rekey};
use super::super::undo::Undo;
use super::store::Store;
use super::{Connection, FOR_UPDATE, erasure, rekey, rows};
use crate::adapters::events;
use crate::domain::{Changed, PasswordHash, UserEvent};
use crate::ports::{Decide, StoreError};

impl Store {
    /// Reads an account, whose piece is `place`, has `decide` decide and stores what it decided, all in one transaction.
    ///
    /// # Errors
    /// When the store fails, or the account doesn't belong here.
    pub async fn change(
        &self,
        place: Place,
        name: UserName,
        decide: Arc<Decide>,
        rekey: Rekey,
    ) -> Result<Changing, StoreError> {
        let input = (self.clone(), name, decide, rekey);
        let places = [place];
        let changed = self.db.write_at(&places, input, |connection, (store, name, decide, rekey)| {
            Box::pin(change(connection, store, name, decide, rekey))
        });
        match changed.await {
            Err(Undo::Conflict(_)) => Ok(Changing::Conflict),
            changed => Ok(changed?),
        }
    }
}

async fn change(
    connection: &mut Connection,
    store: &Store,
    name: &UserName,
    decide: &Decide,
    rekey: &Rekey,
) -> Result<Changing, Undo> {
    let sql = format!("SELECT * FROM users WHERE id = $1{FOR_UPDATE}");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(name.id()).fetch_optional(&mut *connection).await?;
    let Some(row) = row else { return Ok(Changing::NotFound) };
    let user = rows::user(&row)?;
    let old = Claim { key: row.try_get("email_key")?, id: row.try_get("claim")?, at: 0 };
    let changed = match decide(&user) {
        Ok(Some(changed)) => changed,
        Ok(None) => return Ok(Changing::Done { user, before: None }),
        Err(refused) => return Ok(Changing::Refused(refused)),
    };
    // An account may have kept the key of an earlier release, and does so as long as its address stays.
    let becomes = if changed.user.email == user.email { old.key.clone() } else { changed.user.email.key() };
    let erases = (changed.event == UserEvent::Erased).then(|| old.clone());
    let (own, before) = match rekey::reclaim(connection, rekey, name.id(), old, &becomes).await? {
        Ok(reclaimed) => reclaimed,
        Err(Changing::Rekeyed { key, .. }) => return Ok(Changing::Rekeyed { key, erases }),
        Err(undone) => return Ok(undone),
    };
    if !update(connection, user.version, &changed, (&becomes, &own)).await? {
        return Err(Undo::conflict(name));
    }
    if changed.ends_sessions() {
        // No session has an empty id.
        sqlx::query("DELETE FROM sessions WHERE user_id = $1 AND id <> $2")
            .bind(name.id())
            .bind(changed.keeps.as_deref().unwrap_or_default())
            .execute(&mut *connection)
            .await?;
    }
    if changed.event == UserEvent::Erased {
        erasure::drop_keys(connection, name).await?;
        erasure::drop_answers(connection, name).await?;
    }
    let event = events::encode(&changed.user, &changed.event);
    store.outbox.append(connection, changed.user.update_time, &[event]).await?;
    Ok(Changing::Done { user: changed.user, before })
}

/// Stores what an account has become, with the key of its address and the claim by which it has that, in place of the version that
/// was read and only of it; returns whether it was still that.
pub(super) async fn update(
    connection: &mut Connection,
    read: i64,
    changed: &Changed,
    (key, claim): (&str, &str),
) -> Result<bool, Undo> {
    let user = &changed.user;
    let stored = sqlx::query(
        "UPDATE users SET email = $1, email_key = $2, display_name = $3, \
         password_hash = COALESCE($4, password_hash), update_time = $5, delete_time = $6, version = $7, claim = $8, \
         erase_time = $11 WHERE id = $9 AND version = $10",
    )
    .bind(user.email.as_str())
    .bind(key)
    .bind(user.display_name.as_str())
    .bind(changed.password.as_ref().map(PasswordHash::as_str))
    .bind(to_micros(user.update_time))
    .bind(user.delete_time.map(to_micros))
    .bind(user.version)
    .bind(claim)
    .bind(user.name.id())
    .bind(read)
    .bind(user.erase_time.map(to_micros))
    .execute(connection)
    .await?;
    Ok(stored.rows_affected() == 1)
}
