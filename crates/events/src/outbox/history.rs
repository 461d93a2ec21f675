//! The history: events of aggregates that have come from another database, whose own relay has published them.

use meshwork_sql::Error;
use sqlx::AssertSqlSafe;

use super::{Database, NOW, SKIP_LOCKED, not_foreign};

/// Reads what the outbox and the history hold of an aggregate: each version once, in order, at most `$3` behind version `$2`
/// of `$1`. The rows have the columns of the outbox; those of the history are in the partition `$4`, at the position 0.
pub(super) const READ: &str = "\
    SELECT partition, n, type, schema_version, subject, version, time, context, data FROM ( \
        SELECT partition, n, type, schema_version, subject, version, time, context, data \
        FROM outbox WHERE subject = $1 AND version > $2 ORDER BY version LIMIT $3) AS own \
    UNION ALL \
    SELECT partition, n, type, schema_version, subject, version, time, context, data FROM ( \
        SELECT CAST($4 AS BIGINT) AS partition, CAST(0 AS BIGINT) AS n, \
            h.type, h.schema_version, h.subject, h.version, h.time, h.context, h.data \
        FROM outbox_history AS h WHERE h.subject = $1 AND h.version > $2 AND NOT EXISTS ( \
            SELECT 1 FROM outbox AS o WHERE o.subject = h.subject AND o.version = h.version) \
        ORDER BY h.version LIMIT $3) AS moved \
    ORDER BY version LIMIT $3";

/// Removes what is older than `keep` microseconds, at most `limit` events; returns how many. What is on its way here with the
/// keys of `space` is left alone: the two sides of a move must be alike, and its owner removes it.
pub(super) async fn prune(db: &Database, space: i16, keep: i64, limit: i64) -> Result<u64, Error> {
    db.write::<_, _, Error, _>((space, keep, limit), |connection, (space, keep, limit)| {
        Box::pin(async move {
            let own = not_foreign("outbox_history.slot", "outbox_history.key", *space);
            let sql = format!(
                "WITH old AS MATERIALIZED (SELECT subject, version FROM outbox_history \
                 WHERE time < (SELECT {NOW}) - $1 AND {own} ORDER BY time LIMIT $2{SKIP_LOCKED}) \
                 DELETE FROM outbox_history WHERE (subject, version) IN (SELECT subject, version FROM old)"
            );
            let pruned = sqlx::query(AssertSqlSafe(sql)).bind(*keep).bind(*limit);
            Ok(pruned.execute(connection).await?.rows_affected())
        })
    })
    .await
}
