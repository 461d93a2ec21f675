//! How the shards are: for people.

use std::time::Duration;

use serde::Serialize;
use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use super::journal::unfinished;
use super::pieces::statement;
use super::progress::PendingMove;
use super::spec::MovedTable;
use super::tables::quoted;
use crate::Error;
use crate::shards::{Shard, ShardId, Shards};

/// How long one shard is waited for.
const ANSWER: Duration = Duration::from_secs(5);

/// How one shard is, as its database says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShardStatus {
    /// Its number.
    pub id: ShardId,
    /// Its name.
    pub name: String,
    /// Where it is: `HOST:PORT/DATABASE`.
    pub place: String,
    /// Why nothing is known of it; then the rest is empty.
    pub problem: Option<String>,
    /// The epoch of the map that it has.
    pub epoch: Option<i64>,
    /// What it owns.
    pub pieces: Vec<PiecesOwned>,
    /// How many rows its tables have, as the server estimates.
    pub rows: Vec<RowsEstimate>,
    /// The moves from it that aren't at their end.
    pub moves: Vec<PendingMove>,
}

/// What a shard owns of a space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PiecesOwned {
    /// The space of keys.
    pub space: i16,
    /// How many pieces.
    pub count: usize,
    /// Which: slots as `0-341, 700`, ranges as `"a".."m"`.
    pub shown: String,
    /// How many of them are fenced at this moment.
    pub fenced: usize,
}

/// How many rows a table has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowsEstimate {
    /// The table.
    pub table: String,
    /// As the server has counted last; `None` before it has for the first time.
    pub rows: Option<i64>,
}

/// How all the shards are, sorted by number. One that doesn't answer within 5 s says so in its `problem`.
pub async fn status<T: Send + Sync + 'static>(shards: &Shards<T>, tables: &'static [MovedTable]) -> Vec<ShardStatus> {
    let mut statuses = Vec::new();
    for shard in shards.shards() {
        let options = shard.db.reader().connect_options();
        let place =
            format!("{}:{}/{}", options.get_host(), options.get_port(), options.get_database().unwrap_or_default());
        let mut status = ShardStatus {
            id: shard.id,
            name: shard.name.clone(),
            place,
            problem: None,
            epoch: None,
            pieces: Vec::new(),
            rows: Vec::new(),
            moves: Vec::new(),
        };
        match tokio::time::timeout(ANSWER, fill(&mut status, shard, tables)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => status.problem = Some(error.to_string()),
            Err(_) => status.problem = Some(format!("it has not answered within {ANSWER:?}")),
        }
        statuses.push(status);
    }
    statuses
}

async fn fill<T>(status: &mut ShardStatus, shard: &Shard<T>, tables: &'static [MovedTable]) -> Result<(), Error> {
    shard.check()?;
    let mut connection = shard.db.reader().acquire().await?;
    let epoch = statement("SELECT epoch FROM shard_map").fetch_optional(&mut *connection).await?;
    status.epoch = epoch.map(|row| row.try_get(0)).transpose()?;
    status.pieces = owned(&mut connection).await?;
    status.rows = rows(&mut connection, tables).await?;
    status.moves.extend(unfinished(&mut connection).await?.map(|journal| journal.pending(shard.id)));
    Ok(())
}

/// The moves from a shard that aren't at their end.
pub(super) async fn pending_at<T>(shard: &Shard<T>) -> Result<Option<PendingMove>, Error> {
    shard.check()?;
    let read = async {
        let mut connection = shard.db.reader().acquire().await?;
        unfinished(&mut connection).await
    };
    match tokio::time::timeout(ANSWER, read).await {
        Ok(found) => Ok(found?.map(|journal| journal.pending(shard.id))),
        Err(_) => Err(Error::Database(sqlx::Error::PoolTimedOut)),
    }
}

async fn owned(connection: &mut PgConnection) -> Result<Vec<PiecesOwned>, Error> {
    let sql = format!(
        "SELECT space, slot, low, high, COALESCE(fenced_until > {}, FALSE) FROM shard_owned ORDER BY space, slot, low",
        super::journal::NOW
    );
    let mut owned: Vec<(PiecesOwned, Shown)> = Vec::new();
    for row in statement(sql).fetch_all(connection).await? {
        let (space, slot): (i16, Option<i32>) = (row.try_get(0)?, row.try_get(1)?);
        let (low, high): (Option<String>, Option<String>) = (row.try_get(2)?, row.try_get(3)?);
        if owned.last().is_none_or(|(last, _)| last.space != space) {
            let pieces = PiecesOwned { space, count: 0, shown: String::new(), fenced: 0 };
            owned.push((pieces, Shown::default()));
        }
        let Some((pieces, shown)) = owned.last_mut() else { continue };
        pieces.count += 1;
        pieces.fenced += usize::from(row.try_get::<bool, _>(4)?);
        match slot {
            Some(slot) => shown.add_slot(slot),
            None => shown.add_range(&low.unwrap_or_default(), high.as_deref()),
        }
    }
    Ok(owned.into_iter().map(|(pieces, shown)| PiecesOwned { shown: shown.text(), ..pieces }).collect())
}

/// Pieces as people read them.
#[derive(Debug, Default)]
struct Shown {
    parts: Vec<String>,
    /// Slots in a row: the first and the last.
    run: Option<(i32, i32)>,
}

impl Shown {
    fn add_slot(&mut self, slot: i32) {
        self.run = match self.run {
            Some((first, last)) if last + 1 == slot => Some((first, slot)),
            _ => {
                self.end_run();
                Some((slot, slot))
            }
        };
    }

    fn add_range(&mut self, low: &str, high: Option<&str>) {
        self.parts.push(match high {
            Some(high) => format!("{low:?}..{high:?}"),
            None => format!("{low:?}.."),
        });
    }

    fn end_run(&mut self) {
        match self.run.take() {
            Some((first, last)) if first == last => self.parts.push(first.to_string()),
            Some((first, last)) => self.parts.push(format!("{first}-{last}")),
            None => {}
        }
    }

    fn text(mut self) -> String {
        self.end_run();
        self.parts.join(", ")
    }
}

async fn rows(connection: &mut PgConnection, tables: &'static [MovedTable]) -> Result<Vec<RowsEstimate>, Error> {
    let mut found: Vec<RowsEstimate> = Vec::new();
    for table in tables {
        if found.iter().any(|other| other.table == table.table) {
            continue;
        }
        let sql = "SELECT CAST(reltuples AS BIGINT) FROM pg_class WHERE oid = CAST(CAST($1 AS TEXT) AS REGCLASS)";
        let row = sqlx::query(sql).bind(quoted(table.table)).fetch_optional(&mut *connection).await?;
        let rows: Option<i64> = row.map(|row| row.try_get(0)).transpose()?;
        found.push(RowsEstimate { table: table.table.to_owned(), rows: rows.filter(|rows| *rows >= 0) });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_in_a_row_are_shown_by_their_ends() {
        let mut shown = Shown::default();
        for slot in [0, 1, 2, 5, 7, 8] {
            shown.add_slot(slot);
        }
        assert_eq!(shown.text(), "0-2, 5, 7-8");
    }

    #[test]
    fn the_last_range_has_no_end() {
        let mut shown = Shown::default();
        shown.add_range("", Some("m"));
        shown.add_range("m", None);
        assert_eq!(shown.text(), r#""".."m", "m".."#);
    }
}
