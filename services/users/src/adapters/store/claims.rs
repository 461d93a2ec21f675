//! The claims on addresses, and how they have ended.

use meshwork_sql::Freshness;
use meshwork_sql::shards::Place;
use sqlx::{AssertSqlSafe, Row as _};

use super::super::outcome::{CLAIM_LIFE, Claim, ClaimEnd, Found, HeldClaim, Taking};
use super::super::undo::Undo;
use super::super::{CLAIMS, USERS, slot};
use super::store::Store;
use super::{Connection, NOW, Row, SKIP_LOCKED, check_owned, not_foreign, owned, rows};
use crate::ports::StoreError;

/// For how long it is kept how a claim has ended, in microseconds: much longer than a claim may be used.
const KEEP_ENDS: i64 = 24 * CLAIM_LIFE;
/// How old an unconfirmed claim is, in microseconds, when it is looked into though nobody has met it: much older than a claim that
/// may be used.
const STALE: i64 = 24 * CLAIM_LIFE;

impl Store {
    /// Claims an address, whose piece is `place`, for the account with the id `user`.
    ///
    /// # Errors
    /// When the store fails, or the address doesn't belong here.
    pub async fn claim(&self, place: Place, claim: Claim, user: String) -> Result<Taking, StoreError> {
        let places = [place];
        let taken = self.db.write_at(&places, (claim, user), |connection, (claim, user)| {
            Box::pin(async move { take(connection, claim, user, false).await })
        });
        Ok(taken.await?)
    }

    /// Notes that the account of a claim came to be. A claim that has gone stays so.
    ///
    /// # Errors
    /// As [`Store::claim`].
    pub async fn confirm(&self, place: Place, claim: Claim) -> Result<(), StoreError> {
        let places = [place];
        let confirmed = self.db.write_at(&places, claim, |connection, claim| {
            Box::pin(async move {
                let sql = "UPDATE email_claims SET confirmed = TRUE WHERE email_key = $1 AND claim = $2";
                sqlx::query(sql).bind(&claim.key).bind(&claim.id).execute(connection).await?;
                Ok::<_, Undo>(())
            })
        });
        Ok(confirmed.await?)
    }

    /// Takes back that the account of a claim came to be, so that the claim is looked into again.
    ///
    /// # Errors
    /// As [`Store::claim`].
    pub async fn unconfirm(&self, place: Place, claim: Claim) -> Result<(), StoreError> {
        let places = [place];
        let unconfirmed = self.db.write_at(&places, claim, |connection, claim| {
            Box::pin(async move {
                let sql = "UPDATE email_claims SET confirmed = FALSE WHERE email_key = $1 AND claim = $2";
                sqlx::query(sql).bind(&claim.key).bind(&claim.id).execute(connection).await?;
                Ok::<_, Undo>(())
            })
        });
        Ok(unconfirmed.await?)
    }

    /// Lets an address go that is held by this claim; one that another claim holds stays held.
    ///
    /// # Errors
    /// As [`Store::claim`].
    pub async fn release(&self, place: Place, claim: Claim) -> Result<(), StoreError> {
        let places = [place];
        let released = self
            .db
            .write_at(&places, claim, |connection, claim| Box::pin(async move { release(connection, claim).await }));
        Ok(released.await?)
    }

    /// How a claim for the account with the id `user`, whose piece is `place`, has ended there.
    ///
    /// # Errors
    /// When the store fails, or the account doesn't belong here.
    pub async fn claim_end(&self, place: Place, claim: String, user: String) -> Result<ClaimEnd, StoreError> {
        let read = self.db.read(Freshness::Latest, (place, claim, user), |connection, (place, claim, user)| {
            Box::pin(async move {
                let row = sqlx::query(
                    "SELECT (SELECT count(*) FROM users WHERE id = $1 AND claim = $2) AS held, \
                     (SELECT used FROM claim_ends WHERE claim = $2) AS used",
                )
                .bind(user)
                .bind(claim)
                .fetch_one(&mut *connection)
                .await?;
                // Looked at behind the rows: what is still owned then was owned all the while.
                check_owned(connection, *place).await?;
                Ok::<_, Undo>(match (row.try_get::<i64, _>("held")?, row.try_get::<Option<bool>, _>("used")?) {
                    (1.., _) => ClaimEnd::Held,
                    (_, Some(true)) => ClaimEnd::Used,
                    (_, Some(false)) => ClaimEnd::Void,
                    (_, None) => ClaimEnd::Open,
                })
            })
        });
        Ok(read.await?)
    }

    /// Declares a claim void where its account is, so that nobody can use it from then on, however late. Returns whether it is
    /// void by this; not when it has ended before.
    ///
    /// # Errors
    /// As [`Store::claim_end`].
    pub async fn void(&self, place: Place, claim: String, user: String) -> Result<bool, StoreError> {
        let places = [place];
        let voided = self.db.write_at(&places, (claim, user), |connection, (claim, user)| {
            Box::pin(async move { void(connection, claim, user).await })
        });
        match voided.await {
            Err(Undo::Claimed) => Ok(false),
            voided => Ok(voided?),
        }
    }

    /// What the key of an address leads to; `place` is its piece.
    ///
    /// # Errors
    /// When the store fails, or the address doesn't belong here.
    pub async fn find_by_email(&self, place: Place, key: String) -> Result<Found, StoreError> {
        let read = self.db.read(Freshness::Latest, (place, key), |connection, (place, key)| {
            Box::pin(async move { find(connection, *place, key).await })
        });
        Ok(read.await?)
    }

    /// Up to `limit` claims that nobody has confirmed for a day, the oldest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn stale_claims(&self, limit: u32) -> Result<Vec<HeldClaim>, StoreError> {
        let read = self.db.read(Freshness::Latest, i64::from(limit), |connection, limit| {
            Box::pin(async move {
                let sql = format!(
                    "SELECT *, {NOW} - claimed_at AS age FROM email_claims WHERE NOT confirmed \
                     AND claimed_at < (SELECT {NOW}) - $1 AND {} ORDER BY claimed_at LIMIT $2",
                    not_foreign("email_claims.slot", "email_claims.email_key", CLAIMS)
                );
                let rows = sqlx::query(AssertSqlSafe(sql)).bind(STALE).bind(*limit).fetch_all(connection).await?;
                let stale = rows.iter().map(held).collect::<Result<Vec<_>, sqlx::Error>>()?;
                Ok::<_, Undo>(stale)
            })
        });
        Ok(read.await?)
    }

    /// Forgets up to `limit` claims' ends that nobody asks for any more. Returns whether there may be more.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn prune_claims(&self, limit: u32) -> Result<bool, StoreError> {
        let pruned = self.db.write(i64::from(limit), |connection, limit| {
            Box::pin(async move {
                let sql = format!(
                    "WITH old AS MATERIALIZED (SELECT claim FROM claim_ends WHERE ended_at < (SELECT {NOW}) - $1 \
                     AND {} ORDER BY ended_at LIMIT $2{SKIP_LOCKED}) \
                     DELETE FROM claim_ends WHERE claim IN (SELECT claim FROM old)",
                    not_foreign("claim_ends.slot", "claim_ends.user_id", USERS)
                );
                let pruned = sqlx::query(AssertSqlSafe(sql)).bind(KEEP_ENDS).bind(*limit).execute(connection).await?;
                Ok::<_, Undo>(pruned.rows_affected())
            })
        });
        Ok(pruned.await? >= u64::from(limit))
    }
}

/// Makes a claim unless there is one.
pub(super) async fn take(
    connection: &mut Connection,
    claim: &Claim,
    user: &str,
    confirmed: bool,
) -> Result<Taking, Undo> {
    let sql = format!(
        "INSERT INTO email_claims (email_key, user_id, claim, confirmed, claimed_at, slot) \
         VALUES ($1, $2, $3, $4, {NOW}, $5) ON CONFLICT DO NOTHING RETURNING claimed_at"
    );
    let made = sqlx::query(AssertSqlSafe(sql))
        .bind(&claim.key)
        .bind(user)
        .bind(&claim.id)
        .bind(confirmed)
        .bind(slot(&claim.key))
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(row) = made {
        return Ok(Taking::Taken(Claim { at: row.try_get("claimed_at")?, ..claim.clone() }));
    }
    let sql = format!("SELECT *, {NOW} - claimed_at AS age FROM email_claims WHERE email_key = $1");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(&claim.key).fetch_optional(connection).await?;
    match row {
        Some(row) => Ok(Taking::Held(held(&row)?)),
        // It was let go between the two statements.
        None => Err(Undo::conflict("the claim on an address")),
    }
}

fn held(row: &Row) -> Result<HeldClaim, sqlx::Error> {
    Ok(HeldClaim {
        claim: Claim { key: row.try_get("email_key")?, id: row.try_get("claim")?, at: row.try_get("claimed_at")? },
        user: row.try_get("user_id")?,
        confirmed: row.try_get("confirmed")?,
        age: row.try_get("age")?,
    })
}

pub(super) async fn release(connection: &mut Connection, claim: &Claim) -> Result<(), Undo> {
    let sql = "DELETE FROM email_claims WHERE email_key = $1 AND claim = $2";
    sqlx::query(sql).bind(&claim.key).bind(&claim.id).execute(connection).await?;
    Ok(())
}

/// Uses a claim that was made in another database, in the transaction of its account; returns whether it may still be used.
pub(super) async fn use_up(connection: &mut Connection, claim: &Claim, user: &str) -> Result<bool, Undo> {
    let sql = format!(
        "INSERT INTO claim_ends (claim, user_id, used, ended_at, slot) SELECT $1, $2, TRUE, {NOW}, $3 WHERE {NOW} < $4 \
         ON CONFLICT DO NOTHING"
    );
    let used = sqlx::query(AssertSqlSafe(sql))
        .bind(&claim.id)
        .bind(user)
        .bind(slot(user))
        .bind(claim.at.saturating_add(CLAIM_LIFE))
        .execute(connection)
        .await?;
    Ok(used.rows_affected() == 1)
}

async fn void(connection: &mut Connection, claim: &str, user: &str) -> Result<bool, Undo> {
    let sql = format!(
        "INSERT INTO claim_ends (claim, user_id, used, ended_at, slot) VALUES ($1, $2, FALSE, {NOW}, $3) \
         ON CONFLICT DO NOTHING"
    );
    let ended =
        sqlx::query(AssertSqlSafe(sql)).bind(claim).bind(user).bind(slot(user)).execute(&mut *connection).await?;
    if ended.rows_affected() == 0 {
        return Ok(false);
    }
    let held = sqlx::query("SELECT 1 FROM users WHERE id = $1 AND claim = $2");
    match held.bind(user).bind(claim).fetch_optional(connection).await? {
        Some(_) => Err(Undo::Claimed),
        None => Ok(true),
    }
}

async fn find(connection: &mut Connection, place: Place, key: &str) -> Result<Found, Undo> {
    // The account may lie in this database only since it is being moved.
    let sql = format!(
        "SELECT c.user_id AS owner, u.* FROM email_claims c LEFT JOIN users u ON u.id = c.user_id AND {} \
         WHERE c.email_key = $1 AND {}",
        not_foreign("u.slot", "u.id", USERS),
        owned(2)
    );
    let found = sqlx::query(AssertSqlSafe(sql))
        .bind(key)
        .bind(i64::from(place.space))
        .bind(i64::from(place.piece))
        .bind(place.version)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = found else {
        check_owned(connection, place).await?;
        return Ok(Found::Nobody);
    };
    if row.try_get::<Option<String>, _>("id")?.is_none() {
        return Ok(Found::Elsewhere(row.try_get("owner")?));
    }
    let account = rows::account(&row)?;
    // A claim may be older or younger than the account's address.
    Ok(if account.user.email.answers_to(key) { Found::Account(account) } else { Found::Nobody })
}
