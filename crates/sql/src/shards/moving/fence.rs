//! The fence: writes to the pieces are refused for some seconds, and those under way have ended.

use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use tokio::time::Instant;

use super::journal::{Journal, NOW, Phase};
use super::owned::lock;
use super::pieces::{Parts, statement};
use super::session::transaction;
use crate::Error;

/// How long it is waited at most for the transactions that have entered the pieces. Those that come meanwhile wait behind.
const OPEN: Duration = Duration::from_secs(2);

/// A fence that is up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fence {
    /// Its end, in microseconds since 1970 by the database's clock.
    pub until: i64,
    /// When it was put up: not later than the database did.
    pub since: Instant,
    /// Its end by our clock: not later than by the database's.
    pub end: Instant,
}

/// Puts it up, and notes in the journal that it did. `None` when the database doesn't own all of the pieces as they were.
pub(super) async fn raise(
    connection: &mut PgConnection,
    journal: &mut Journal,
    length: Duration,
) -> Result<Option<Fence>, Error> {
    let mut transaction = transaction(connection, OPEN).await?;
    let parts = journal.parts.clone();
    lock(&mut transaction, &parts).await?;
    let since = Instant::now();
    let sql = format!(
        // One time for all of them: inlined, the clock would be read for each.
        "WITH f AS MATERIALIZED (SELECT {NOW} + $4 AS until) \
         UPDATE shard_owned AS o SET fenced_until = f.until FROM f, unnest($2::int[], $3::bigint[]) AS p(piece, version) \
         WHERE o.space = $1 AND o.piece = p.piece AND o.version = p.version RETURNING f.until"
    );
    let update = statement(sql).bind(parts.space).bind(parts.pieces()).bind(parts.versions());
    let length_micros = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
    let rows = update.bind(length_micros).fetch_all(&mut *transaction).await?;
    let Some(first) = rows.first().filter(|_| rows.len() as u64 == parts.count()) else {
        transaction.rollback().await?;
        return Ok(None);
    };
    let fence = Fence { until: first.try_get(0)?, since, end: since + length };
    journal.fences += 1;
    journal.phase = Phase::Fence;
    journal.save(&mut transaction).await?;
    transaction.commit().await?;
    Ok(Some(fence))
}

/// Takes down whatever fence is up.
pub(super) async fn lower(connection: &mut PgConnection, parts: &Parts) -> Result<(), Error> {
    let update = statement(
        "UPDATE shard_owned SET fenced_until = NULL \
         WHERE space = $1 AND piece = ANY($2) AND fenced_until IS NOT NULL",
    );
    update.bind(parts.space).bind(parts.pieces()).execute(connection).await?;
    Ok(())
}

/// Whether this fence is up over all of the pieces, for who holds their locks.
pub(super) async fn stands(connection: &mut PgConnection, parts: &Parts, fence: Fence) -> Result<bool, Error> {
    let sql = format!(
        "SELECT count(*) FROM shard_owned AS o JOIN unnest($2::int[], $3::bigint[]) AS p(piece, version) \
         ON o.piece = p.piece AND o.version = p.version \
         WHERE o.space = $1 AND o.fenced_until = $4 AND o.fenced_until > {NOW}"
    );
    let count = statement(sql).bind(parts.space).bind(parts.pieces()).bind(parts.versions()).bind(fence.until);
    let count: i64 = count.fetch_one(connection).await?.try_get(0)?;
    Ok(u64::try_from(count).is_ok_and(|count| count == parts.count()))
}

#[cfg(test)]
mod tests {
    use super::super::spec::MoveOptions;
    use super::*;
    use crate::shards::ShardTimes;

    #[test]
    fn a_call_is_routed_for_longer_than_a_fence_holds_it_up() {
        let longest = OPEN + MoveOptions::default().fence;
        assert!(longest + Duration::from_secs(2) <= ShardTimes::default().route, "{longest:?}");
    }
}
