//! Cursors of the old owner's session: what is long is looked for once, and fetched bit by bit. To look for the next rows anew
//! each time would find all of them each time, where no index gives them in order.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};

use super::pieces::{Parts, statement};
use super::session::{STATEMENT, transaction};
use super::tables::{BATCH, Chunk, Row, Table, json_list};
use crate::Error;

/// How long the rows may be looked for, outside of any fence.
const LOOK: Duration = Duration::from_secs(600);
/// How many rows are fetched first; then as many as fit into a batch,
const FIRST: usize = 100;
/// and at most so many.
const MOST: usize = 2_000;
/// The cursor over the keys, which outlives its transaction.
const KEYS: &str = "shard_move_keys";
/// The cursor over the rows.
const ROWS: &str = "shard_move_rows";

/// The primary keys of the rows to copy, of a table whose rows are found by other rows. Rows that come later are in the log.
#[derive(Debug)]
pub(super) struct Keys {
    /// The table, by its place among those of the space.
    pub table: usize,
    /// Those that come next, in order. They stay until their rows are at the new owner.
    next: Vec<String>,
}

impl Keys {
    /// Looks for them, from behind a primary key on.
    pub async fn list(
        connection: &mut PgConnection,
        (number, table): (usize, &Table),
        parts: &Parts,
        after: Option<&str>,
    ) -> Result<Self, Error> {
        close(connection).await?;
        let mut transaction = transaction(connection, STATEMENT).await?;
        patiently(&mut transaction).await?;
        let mut declare = parts.bind(statement(table.keys(KEYS, after.is_none())));
        if let Some(after) = after {
            declare = declare.bind(after.to_owned());
        }
        declare.execute(&mut *transaction).await?;
        // The server looks for them here, and keeps them until the cursor is closed.
        transaction.commit().await?;
        Ok(Self { table: number, next: Vec::new() })
    }

    /// The next rows, as they are in a snapshot: the same ones until [`Keys::done`].
    pub async fn read_chunk(
        &mut self,
        snapshot: &mut PgConnection,
        table: &Table,
        parts: &Parts,
        limit: i64,
    ) -> Result<Chunk, Error> {
        if self.next.is_empty() {
            let fetch = format!("FETCH FORWARD {limit} FROM {KEYS}");
            for row in sqlx::raw_sql(AssertSqlSafe(fetch)).fetch_all(&mut *snapshot).await? {
                self.next.push(row.try_get(0)?);
            }
        }
        let mut chunk = Chunk { rows: Vec::new(), last: None };
        if self.next.is_empty() {
            return Ok(chunk);
        }
        let mut found = 0;
        let read = parts.bind(statement(table.chunk_of())).bind(json_list(&self.next));
        for row in read.fetch_all(snapshot).await? {
            chunk.rows.push(row.try_get(0)?);
            chunk.last = Some(row.try_get(1)?);
            found = row.try_get::<i64, _>(2)?;
        }
        // Those that have no row any more have been dealt with too.
        if i64::try_from(chunk.rows.len()).is_ok_and(|read| read == found) {
            chunk.last = self.next.last().cloned();
        }
        Ok(chunk)
    }

    /// The rows up to this primary key are at the new owner.
    pub fn done(&mut self, last: &str) {
        let done = self.next.iter().position(|key| key == last).map_or(self.next.len(), |at| at + 1);
        self.next.drain(..done);
    }
}

/// Closes the cursors, if there are any.
pub(super) async fn close(connection: &mut PgConnection) -> Result<(), Error> {
    sqlx::raw_sql("CLOSE ALL").execute(connection).await?;
    Ok(())
}

/// All rows of a table in the pieces, in no order, as they are in one snapshot.
#[derive(Debug)]
pub(super) struct AllRows {
    size: usize,
}

impl AllRows {
    /// Begins to look for them, in a snapshot.
    pub async fn open(snapshot: &mut PgConnection, table: &Table, parts: &Parts) -> Result<Self, Error> {
        patiently(snapshot).await?;
        parts.bind(statement(table.all(ROWS))).execute(snapshot).await?;
        Ok(Self { size: FIRST })
    }

    /// The next ones; none at the end.
    pub async fn next(&mut self, snapshot: &mut PgConnection) -> Result<Vec<Row>, Error> {
        let fetch = format!("FETCH FORWARD {} FROM {ROWS}", self.size);
        let mut rows = Vec::new();
        for row in sqlx::raw_sql(AssertSqlSafe(fetch)).fetch_all(snapshot).await? {
            rows.push(Row { row: row.try_get(0)?, key: row.try_get(1)? });
        }
        let bytes: usize = rows.iter().map(|row| row.row.len()).sum();
        if bytes > BATCH {
            self.size = (self.size / 2).max(1);
        } else if bytes < BATCH / 2 {
            self.size = (self.size * 2).min(MOST);
        }
        Ok(rows)
    }
}

/// Lets the rest of the transaction take its time, and plan for all rows of a cursor, not for the first ones.
async fn patiently(connection: &mut PgConnection) -> Result<(), Error> {
    let set = format!("SET LOCAL statement_timeout = {}; SET LOCAL cursor_tuple_fraction = 1", LOOK.as_millis());
    sqlx::raw_sql(AssertSqlSafe(set)).execute(connection).await?;
    Ok(())
}
