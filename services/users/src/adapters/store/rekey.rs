//! The keys of addresses: another one with a change of the address, and with another rule for keys.

use meshwork_api::UserName;
use meshwork_sql::shards::Place;
use sqlx::{AssertSqlSafe, Row as _};

use super::super::outcome::{Changing, Claim, Rekey, Taking};
use super::super::undo::Undo;
use super::store::Store;
use super::{Connection, FOR_UPDATE, claims, rows};
use crate::ports::StoreError;

impl Store {
    /// Gives the address of an account, whose piece is `place`, the key that this release has for it, if it was kept by another. The
    /// account stays as it is otherwise, and nothing is announced: its address is the same.
    ///
    /// # Errors
    /// When the store fails, or the account doesn't belong here.
    pub async fn renew_key(&self, place: Place, name: UserName, rekey: Rekey) -> Result<Changing, StoreError> {
        let places = [place];
        let renewed = self.db.write_at(&places, (name, rekey), |connection, (name, rekey)| {
            Box::pin(async move { renew(connection, name, rekey).await })
        });
        match renewed.await {
            Err(Undo::Conflict(_)) => Ok(Changing::Conflict),
            renewed => Ok(renewed?),
        }
    }
}

async fn renew(connection: &mut Connection, name: &UserName, rekey: &Rekey) -> Result<Changing, Undo> {
    let sql = format!("SELECT * FROM users WHERE id = $1{FOR_UPDATE}");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(name.id()).fetch_optional(&mut *connection).await?;
    let Some(row) = row else { return Ok(Changing::NotFound) };
    let user = rows::user(&row)?;
    let old = Claim { key: row.try_get("email_key")?, id: row.try_get("claim")?, at: 0 };
    let becomes = user.email.key();
    if old.key == becomes {
        return Ok(Changing::Done { user, before: None });
    }
    let (was, claim) = (old.key.clone(), old.id.clone());
    let (own, before) = match reclaim(connection, rekey, name.id(), old, &becomes).await? {
        Ok(reclaimed) => reclaimed,
        Err(undone) => return Ok(undone),
    };
    let renewed = sqlx::query(
        "UPDATE users SET email_key = $1, claim = $2 WHERE id = $3 AND email_key = $4 AND claim = $5 AND version = $6",
    )
    .bind(&becomes)
    .bind(&own)
    .bind(name.id())
    .bind(&was)
    .bind(&claim)
    .bind(user.version)
    .execute(connection)
    .await?;
    if renewed.rows_affected() == 0 {
        return Err(Undo::conflict(name));
    }
    Ok(Changing::Done { user, before })
}

/// The id of the claim by which an account has its address once its key is `becomes`, and the claim that it has had until then if
/// that is another; or what the attempt comes to, when it can't have that key.
pub(super) async fn reclaim(
    connection: &mut Connection,
    rekey: &Rekey,
    user: &str,
    old: Claim,
    becomes: &str,
) -> Result<Result<(String, Option<Claim>), Changing>, Undo> {
    if old.key == becomes {
        return Ok(Ok((old.id, None)));
    }
    match rekey {
        Rekey::With(new) if new.key == becomes => {
            if !claims::use_up(connection, new, user).await? {
                return Ok(Err(Changing::Voided));
            }
            Ok(Ok((new.id.clone(), Some(old))))
        }
        Rekey::Own(own) if own.key == becomes && own.id == old.id => Ok(Ok((old.id, None))),
        Rekey::Unchanged | Rekey::With(_) | Rekey::Own(_) => {
            Ok(Err(Changing::Rekeyed { key: becomes.to_owned(), erases: None }))
        }
        Rekey::Here => {
            let new = Claim::new(becomes);
            match claims::take(connection, &new, user, true).await? {
                Taking::Taken(_) => {
                    claims::release(connection, &old).await?;
                    Ok(Ok((new.id, Some(old))))
                }
                Taking::Held(held) if held.user == user && held.claim.id == old.id => Ok(Ok((old.id, None))),
                Taking::Held(_) => Ok(Err(Changing::EmailTaken)),
            }
        }
    }
}
