//! The triggers that log changes while a move is under way.

use std::time::Duration;

use sqlx::postgres::PgConnection;

use super::pieces::statement;
use super::session::{STATEMENT, transaction};
use super::tables::{Table, quoted};
use crate::{Error, Kind};

/// How often a table's lock is tried for.
const ATTEMPTS: u32 = 20;
/// The pause between two tries, in which those who have waited behind come through.
const PAUSE: Duration = Duration::from_millis(250);
/// How many rows of the log are deleted at once.
const CHUNK: i64 = 10_000;

/// Has the changes of a table logged from now on. It waits for the transactions that have written to it: what it doesn't log is
/// committed afterwards.
pub(super) async fn install(connection: &mut PgConnection, table: &Table, generation: i32) -> Result<(), Error> {
    // A history only grows, and what has aged at the old owner stays in it. What it is made of may get another primary key.
    let events = if table.is_history { "INSERT OR UPDATE" } else { "INSERT OR UPDATE OR DELETE" };
    let mut arguments = vec![format!("'{generation}'")];
    arguments.extend(table.primary_key.iter().map(|column| format!("'{}'", column.replace('\'', "''"))));
    let sql = format!(
        "CREATE OR REPLACE TRIGGER {} AFTER {events} ON {} FOR EACH ROW EXECUTE FUNCTION shard_log_change({})",
        quoted(&trigger_of(table.name)),
        quoted(table.name),
        arguments.join(", ")
    );
    with_lock(connection, &sql).await
}

/// Whether the changes of a table are logged.
pub(super) async fn is_installed(connection: &mut PgConnection, table: &Table) -> Result<bool, Error> {
    let found = statement(
        "SELECT 1 FROM pg_trigger WHERE tgrelid = CAST(CAST($1 AS TEXT) AS REGCLASS) AND tgname = $2 AND tgenabled <> 'D'",
    );
    let found = found.bind(quoted(table.name)).bind(trigger_of(table.name)).fetch_optional(connection).await?;
    Ok(found.is_some())
}

/// Ends the logging of a table's changes.
pub(super) async fn remove(connection: &mut PgConnection, table: &str) -> Result<(), Error> {
    let sql = format!("DROP TRIGGER IF EXISTS {} ON {}", quoted(&trigger_of(table)), quoted(table));
    with_lock(connection, &sql).await
}

fn trigger_of(table: &str) -> String {
    format!("shard_log_{table}")
}

/// Runs what needs a lock of a table. All who write wait behind it, so it waits for 1 s only, and tries again.
async fn with_lock(connection: &mut PgConnection, sql: &str) -> Result<(), Error> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match locked(connection, sql).await {
            Err(error) if error.kind() == Kind::Conflict && attempts < ATTEMPTS => {
                tracing::debug!(%error, "a table that is to be logged is busy; its lock is tried for again");
                tokio::time::sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
            }
            ended => return ended,
        }
    }
}

async fn locked(connection: &mut PgConnection, sql: &str) -> Result<(), Error> {
    let mut transaction = transaction(connection, STATEMENT).await?;
    statement("SET LOCAL lock_timeout = 1000").execute(&mut *transaction).await?;
    statement(sql).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}

/// Empties the log.
pub(super) async fn empty_log(connection: &mut PgConnection) -> Result<(), Error> {
    loop {
        let delete = statement("DELETE FROM shard_log WHERE seq IN (SELECT seq FROM shard_log ORDER BY seq LIMIT $1)");
        let deleted = delete.bind(CHUNK).execute(&mut *connection).await?;
        if deleted.rows_affected() < CHUNK.unsigned_abs() {
            return Ok(());
        }
    }
}
