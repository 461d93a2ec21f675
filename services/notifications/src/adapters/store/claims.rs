//! The queue: what is due, claims by lease, and what has ended.
//!
//! A claim takes rows that no other transaction holds, and of each recipient only the letter that waits at the head: where
//! another instance is taking that one, this one doesn't see the next. The unique index on those who are written to stands
//! behind it.

use std::time::Duration;

use meshwork_sql::{Error as SqlError, to_micros};
use sqlx::{AssertSqlSafe, Row as _};
use time::OffsetDateTime;
use uuid::Uuid;

use super::rows::{self, COLUMNS, find, update};
use super::{Connection, NOW, Row, SKIP_LOCKED, index_hint};
use crate::domain::{GIVEN_UP, Notification, Outcome, State, UNREADABLE_PAUSE};

/// Microseconds, as the columns count them.
fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Whether anything is due. The least times are the heads of the indexes; of a comparison with the clock PostgreSQL would
/// think that a third of all rows passes it, and read the table.
pub fn any_due() -> String {
    format!(
        "SELECT 1 WHERE (SELECT min(next_try_at) FROM notification{} WHERE state = 'PENDING') <= {NOW} \
         OR (SELECT min(lease_until) FROM notification{} WHERE state = 'SENDING') <= {NOW}",
        index_hint("notification_due"),
        index_hint("notification_lease")
    )
}

// In these statements the time is a subquery, so that it is asked for once and can be looked up in an index.

/// What was under way when its process ended, or stood still for too long.
pub fn next_over() -> String {
    format!(
        "SELECT {COLUMNS}, {NOW} AS now FROM notification{} WHERE state = 'SENDING' AND lease_until <= (SELECT {NOW}) \
         ORDER BY lease_until, seq LIMIT $1{SKIP_LOCKED}",
        index_hint("notification_lease")
    )
}

/// What is due first, of those whose recipient has no letter under way: one of each recipient.
pub fn next_due() -> String {
    format!(
        "SELECT {COLUMNS}, {NOW} AS now FROM notification AS n{} \
         WHERE n.state = 'PENDING' AND n.next_try_at <= (SELECT {NOW}) \
         AND NOT EXISTS (SELECT 1 FROM notification AS s{} WHERE s.state = 'SENDING' AND s.recipient = n.recipient) \
         AND NOT EXISTS (SELECT 1 FROM notification AS e{} WHERE e.state = 'PENDING' AND e.recipient = n.recipient \
         AND (e.next_try_at, e.seq) < (n.next_try_at, n.seq)) \
         ORDER BY n.next_try_at, n.seq LIMIT $1{SKIP_LOCKED}",
        index_hint("notification_due"),
        index_hint("notification_sending"),
        index_hint("notification_waiting")
    )
}

/// What takes a recipient's other letters along when one has failed.
pub fn quarantine() -> String {
    format!(
        "UPDATE notification{} SET next_try_at = $1 WHERE recipient = $2 AND state = 'PENDING' AND next_try_at < $1",
        index_hint("notification_waiting")
    )
}

/// What gives up some of what has waited for too long.
pub fn give_up_old() -> String {
    format!(
        "WITH old AS MATERIALIZED (SELECT seq FROM notification{} WHERE state = 'PENDING' \
         AND created_at < (SELECT {NOW}) - $1 AND resent_at < (SELECT {NOW}) - $1 \
         ORDER BY created_at, seq LIMIT $2{SKIP_LOCKED}) \
         UPDATE notification SET state = 'FAILED', reason = $3, ended_at = (SELECT {NOW}) \
         WHERE seq IN (SELECT seq FROM old)",
        index_hint("notification_old")
    )
}

/// What deletes some of what has ended before.
pub fn prune_ended() -> String {
    format!(
        "WITH old AS MATERIALIZED (SELECT seq FROM notification{} WHERE state IN ('SENT', 'FAILED') \
         AND created_at < (SELECT {NOW}) - $1 AND ended_at < (SELECT {NOW}) - $1 \
         ORDER BY created_at, seq LIMIT $2{SKIP_LOCKED}) \
         DELETE FROM notification WHERE seq IN (SELECT seq FROM old)",
        index_hint("notification_ended")
    )
}

/// Begins a try of at most `limit` notifications: first of those whose lease is over, then of those that are due.
pub async fn claim(connection: &mut Connection, limit: usize, lease: Duration) -> Result<Vec<Notification>, SqlError> {
    let mut claimed = Vec::new();
    for sql in [next_over(), next_due()] {
        while claimed.len() < limit {
            let free = i64::try_from(limit - claimed.len()).unwrap_or(i64::MAX);
            let rows = sqlx::query(AssertSqlSafe(sql.clone())).bind(free).fetch_all(&mut *connection).await?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                let now = rows::now(&row)?;
                let Some(mut notification) = readable(&row) else {
                    postpone(connection, &row, now).await?;
                    continue;
                };
                if notification.claim(now, lease).is_err() {
                    // The clock was set back meanwhile.
                    return Ok(claimed);
                }
                update(connection, &notification, now).await?;
                claimed.push(notification);
            }
        }
    }
    Ok(claimed)
}

/// The notification, unless this release can't send it.
fn readable(row: &Row) -> Option<Notification> {
    let problem = match rows::read(row) {
        Ok(notification) if notification.occasion.is_some() => return Some(notification),
        Ok(notification) => format!("{}: what it tells can't be read", notification.id),
        Err(error) => error.to_string(),
    };
    let seq: i64 = row.try_get("seq").unwrap_or_default();
    tracing::error!(seq, problem, "a notification can't be read by this release; it waits for one that can");
    None
}

/// Leaves a row to a release that understands it. At the head of the queue it would be in everybody's way.
async fn postpone(connection: &mut Connection, row: &Row, now: OffsetDateTime) -> Result<(), SqlError> {
    sqlx::query("UPDATE notification SET state = 'PENDING', next_try_at = $1, lease_until = 0 WHERE seq = $2")
        .bind(to_micros(now + UNREADABLE_PAUSE))
        .bind(row.try_get::<i64, _>("seq")?)
        .execute(connection)
        .await?;
    Ok(())
}

/// Gives a try its notification for `lease` from now, if it is still under way; whether it is.
pub async fn renew(connection: &mut Connection, id: Uuid, attempt: u32, lease: Duration) -> Result<bool, SqlError> {
    let sql = format!(
        "UPDATE notification SET lease_until = {NOW} + $1 WHERE id = $2 AND state = 'SENDING' AND attempts = $3"
    );
    let renewed = sqlx::query(AssertSqlSafe(sql)).bind(micros(lease)).bind(id.to_string()).bind(i64::from(attempt));
    Ok(renewed.execute(connection).await?.rows_affected() > 0)
}

/// Ends a try, if it is still under way.
pub async fn settle(connection: &mut Connection, id: Uuid, attempt: u32, outcome: &Outcome) -> Result<(), SqlError> {
    let Some((mut notification, now)) = find(connection, id).await? else { return Ok(()) };
    if notification.settle(attempt, outcome, now).is_err() {
        return Ok(());
    }
    update(connection, &notification, now).await?;
    if notification.state == State::Pending {
        sqlx::query(AssertSqlSafe(quarantine()))
            .bind(to_micros(notification.next_try_time))
            .bind(notification.recipient.to_string())
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Gives up at most `limit` notifications that have waited for longer than `after`; returns how many.
pub async fn give_up(connection: &mut Connection, after: Duration, limit: usize) -> Result<u64, SqlError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let given_up = sqlx::query(AssertSqlSafe(give_up_old())).bind(micros(after)).bind(limit).bind(GIVEN_UP);
    Ok(given_up.execute(connection).await?.rows_affected())
}

/// Deletes at most `limit` notifications that ended longer ago than `retention`, and as many notes; returns how many were
/// deleted of what there is more of.
pub async fn prune(connection: &mut Connection, retention: Duration, limit: usize) -> Result<u64, SqlError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut most = 0;
    for sql in [prune_ended(), super::notes::prune()] {
        let deleted = sqlx::query(AssertSqlSafe(sql)).bind(micros(retention)).bind(limit).execute(&mut *connection);
        most = deleted.await?.rows_affected().max(most);
    }
    Ok(most)
}
