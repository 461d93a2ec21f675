//! What goes in time (E7).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::sqlite::SqliteConnection;

use crate::bus::Lane;

/// How long messages stay at least.
pub(super) const RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// For how much longer they stay for a consumer that hasn't acknowledged them and was heard of within that time: one that is
/// retired keeps nothing.
const PATIENCE: Duration = Duration::from_secs(28 * 24 * 60 * 60);
/// How many publications pass between two sweeps of old messages.
pub(super) const EVERY: u64 = 64;
/// How many old messages a sweep removes at most: more than come to a lane between two of its sweeps.
const LIMIT: i64 = 65_536;

/// The time in seconds since 1970.
pub(super) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    seconds(now)
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// Removes a lane's messages past their retention, but never its tail, nor what a consumer hasn't acknowledged that was heard
/// of lately.
pub(super) async fn sweep(connection: &mut SqliteConnection, lane: &Lane, now: i64) -> Result<(), sqlx::Error> {
    // Consumers of the release before are heard of from now on.
    sqlx::query(
        "INSERT INTO subscriptions (consumer, stream, partition, n, i, attempts, repaired, seen_at) \
         SELECT consumer, stream, partition, 0, 0, 0, 0, ? FROM acknowledged WHERE stream = ? AND partition = ? \
         ON CONFLICT DO NOTHING",
    )
    .bind(now)
    .bind(&lane.stream)
    .bind(lane.partition)
    .execute(&mut *connection)
    .await?;
    // What may go stands at the lane's beginning, so that neither query looks further than it removes.
    sqlx::query(
        "WITH kept (n, i) AS ( \
           SELECT a.n, a.i FROM acknowledged a JOIN subscriptions s USING (consumer, stream, partition) \
           WHERE stream = ?1 AND partition = ?2 AND s.seen_at > ?5 ORDER BY a.n, a.i LIMIT 1 \
         ), tail (n, i) AS ( \
           SELECT n, i FROM messages WHERE stream = ?1 AND partition = ?2 ORDER BY n DESC, i DESC LIMIT 1 \
         ), first (stored_at) AS ( \
           SELECT stored_at FROM messages WHERE stream = ?1 AND partition = ?2 ORDER BY n, i LIMIT 1 \
         ) \
         DELETE FROM messages WHERE stream = ?1 AND partition = ?2 AND (n, i) IN ( \
           SELECT n, i FROM messages \
           WHERE stream = ?1 AND partition = ?2 AND stored_at < ?3 AND (SELECT stored_at FROM first) < ?3 \
             AND (NOT EXISTS (SELECT 1 FROM kept) OR (n, i) <= (SELECT n, i FROM kept)) \
             AND (n, i) < (SELECT n, i FROM tail) \
           ORDER BY n, i LIMIT ?4)",
    )
    .bind(&lane.stream)
    .bind(lane.partition)
    .bind(now - seconds(RETENTION))
    .bind(LIMIT)
    .bind(now - seconds(PATIENCE))
    .execute(&mut *connection)
    .await?;
    sqlx::query("DELETE FROM repaired WHERE stream = ? AND partition = ? AND stored_at < ?")
        .bind(&lane.stream)
        .bind(lane.partition)
        .bind(now - seconds(PATIENCE))
        .execute(connection)
        .await?;
    Ok(())
}
