//! The tables of a move as the two databases have them, and the SQL texts about them.

use std::borrow::Borrow;

use sqlx::postgres::PgConnection;
use sqlx::{Column as _, Executor as _, Row as _, SqlSafeStr as _, Statement as _};

use super::error::MoveError;
use super::pieces::{Parts, statement};
use super::session::Sessions;
use super::spec::{MovedTable, Rows, Target};
use crate::Error;

/// How many bytes of rows are moved at once, unless one row has more.
pub(super) const BATCH: usize = 4 << 20;

/// A table of a move.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// The table at the old owner.
    pub name: &'static str,
    /// The table at the new owner.
    pub into: &'static str,
    /// Whether rows go to a history: appended, never changed.
    pub is_history: bool,
    /// Whether `into` gets rows of another table too, so that it has more than this one.
    pub is_shared: bool,
    pub primary_key: &'static [&'static str],
    into_key: &'static [&'static str],
    /// The list of a SELECT over `t` that makes the row of `into`.
    list: String,
    /// Its names, quoted.
    columns: Vec<String>,
    /// Those of them that an update may set.
    updated: Vec<String>,
    /// Whether `t` lies in the pieces.
    condition: String,
    /// Whether its rows are found by other rows.
    pub is_through: bool,
    /// The number of the parameter after those of the condition.
    next: usize,
}

/// The tables of the space, parents first.
pub(super) async fn of(
    sessions: &mut Sessions,
    tables: &'static [MovedTable],
    parts: &Parts,
) -> Result<Vec<Table>, MoveError> {
    let mut found: Vec<Table> = Vec::new();
    for table in tables.iter().filter(|table| table.space == parts.space) {
        if found.iter().any(|other| other.name == table.table) {
            return Err(MoveError::Refused(format!("the table {} is named twice for one space", table.table)));
        }
        found.push(resolve(sessions, tables, table, parts).await?);
    }
    if found.is_empty() {
        return Err(MoveError::Refused(format!("no table has rows of space {}", parts.space)));
    }
    Ok(found)
}

async fn resolve(
    sessions: &mut Sessions,
    tables: &'static [MovedTable],
    table: &'static MovedTable,
    parts: &Parts,
) -> Result<Table, MoveError> {
    let condition = match table.rows {
        Rows::Columns { slot, key } => parts.condition(&format!("t.{}", quoted(slot)), &format!("t.{}", quoted(key))),
        Rows::Through { condition, slot, key } => condition.replace("{piece}", &parts.condition(slot, key)),
    };
    let is_same = |other: &MovedTable, name: &str| {
        other.space == table.space && other.table == name && matches!(other.target, Target::Same)
    };
    let goes_there = |other: &MovedTable, name: &str| {
        other.space == table.space && matches!(other.target, Target::History { table, .. } if table == name)
    };
    let (into, into_key, list, columns) = match table.target {
        Target::Same => {
            let columns = columns_of(&mut sessions.source.connection, table.table)
                .await
                .map_err(MoveError::at(&sessions.source.name))?;
            let columns: Vec<_> = columns.into_iter().map(|column| column.name).collect();
            let list: Vec<_> = columns.iter().map(|column| format!("t.{}", quoted(column))).collect();
            (table.table, table.primary_key, list.join(", "), columns)
        }
        Target::History { table: history, select, primary_key } => {
            if !tables.iter().any(|other| is_same(other, history)) {
                return Err(MoveError::Refused(format!(
                    "{history} gets the rows of {} and must be a moved table itself, into the same table, so that it goes \
                     along when its piece moves on",
                    table.table
                )));
            }
            let sql = format!("SELECT {select} FROM {} AS t LIMIT 0", quoted(table.table));
            let names =
                names_of(&mut sessions.source.connection, sql).await.map_err(MoveError::at(&sessions.source.name))?;
            (history, primary_key, select.to_owned(), names)
        }
    };
    let there = columns_of(&mut sessions.destination.connection, into)
        .await
        .map_err(MoveError::at(&sessions.destination.name))?;
    if let Some(missing) = columns.iter().find(|column| !there.iter().any(|there| there.name == **column)) {
        return Err(MoveError::Refused(format!(
            "the table {into} of shard {:?} lacks the column {missing}; migrate that shard to the same release first",
            sessions.destination.name
        )));
    }
    let may_be_set = |column: &&String| {
        let is_key = into_key.contains(&column.as_str());
        !is_key && there.iter().any(|there| there.name == **column && !there.is_identity)
    };
    Ok(Table {
        name: table.table,
        into,
        is_history: matches!(table.target, Target::History { .. }),
        is_shared: tables.iter().any(|other| goes_there(other, into)),
        primary_key: table.primary_key,
        into_key,
        list,
        updated: columns.iter().filter(may_be_set).map(|column| quoted(column)).collect(),
        columns: columns.iter().map(|column| quoted(column)).collect(),
        condition,
        is_through: matches!(table.rows, Rows::Through { .. }),
        next: parts.parameters() + 1,
    })
}

struct FoundColumn {
    name: String,
    /// It may be inserted, but not updated.
    is_identity: bool,
}

/// The columns of a table that may be written.
async fn columns_of(connection: &mut PgConnection, table: &str) -> Result<Vec<FoundColumn>, Error> {
    let sql = "SELECT attname::text, attidentity = 'a' FROM pg_attribute WHERE attrelid = CAST(CAST($1 AS TEXT) AS REGCLASS) \
               AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum";
    let rows = sqlx::query(sql).bind(quoted(table)).fetch_all(connection).await?;
    let mut columns = Vec::new();
    for row in rows {
        columns.push(FoundColumn { name: row.try_get(0)?, is_identity: row.try_get(1)? });
    }
    Ok(columns)
}

/// The names of what a SELECT gives.
async fn names_of(connection: &mut PgConnection, sql: String) -> Result<Vec<String>, Error> {
    let prepared = connection.prepare(sqlx::AssertSqlSafe(sql).into_sql_str()).await?;
    Ok(prepared.columns().iter().map(|column| column.name().to_owned()).collect())
}

/// An identifier in SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `alias.a, alias.b`.
fn listed(alias: &str, columns: &[&str]) -> String {
    let columns: Vec<_> = columns.iter().map(|column| format!("{alias}.{}", quoted(column))).collect();
    columns.join(", ")
}

/// The primary key as JSON.
fn keyed(alias: &str, columns: &[&str]) -> String {
    let pairs: Vec<_> =
        columns.iter().map(|column| format!("'{}', {alias}.{}", column.replace('\'', "''"), quoted(column))).collect();
    format!("jsonb_build_object({})", pairs.join(", "))
}

impl Table {
    /// Whether the new owner has these rows beside others, so that each is looked for there.
    pub fn is_contained(&self) -> bool {
        self.is_history || self.is_shared
    }

    /// The row as JSON.
    fn row(&self) -> String {
        format!("(SELECT to_jsonb(r) FROM (SELECT {}) AS r)", self.list)
    }

    /// That a row is behind another one, whose primary key is the parameter.
    fn is_behind(&self, parameter: usize) -> String {
        let (name, keys, last) = (quoted(self.name), listed("t", self.primary_key), listed("l", self.primary_key));
        format!("({keys}) > (SELECT {last} FROM jsonb_populate_record(NULL::{name}, ${parameter}::jsonb) AS l)")
    }

    /// That a row has one of the primary keys in a JSON list, the parameter.
    fn is_one_of(&self, parameter: usize) -> String {
        let (name, keys, listed) = (quoted(self.name), listed("t", self.primary_key), listed("l", self.primary_key));
        format!("({keys}) IN (SELECT {listed} FROM jsonb_populate_recordset(NULL::{name}, ${parameter}::jsonb) AS l)")
    }

    /// Of rows of the table: the row, its primary key, and how many there are, in the order of the primary key, as many as fit into
    /// a batch, at least one if there is one. The rows are chosen before they are made into JSON.
    fn sized(&self, rows: &str) -> String {
        format!(
            "SELECT moved, pk, found FROM (\
             SELECT moved, pk, n, found, sum(octet_length(moved)) OVER (ORDER BY n) AS bytes FROM (\
             SELECT {}::text AS moved, {}::text AS pk, row_number() OVER (ORDER BY {}) AS n, count(*) OVER () AS found \
             FROM ({rows}) AS t) AS chunk) AS sized WHERE n = 1 OR bytes <= {BATCH} ORDER BY n",
            self.row(),
            keyed("t", self.primary_key),
            listed("t", self.primary_key)
        )
    }

    /// At the old owner, of a table whose rows name their place: the next rows in the order of the primary key ([`Table::sized`]).
    /// Parameters: the condition's, how many at most, and if it is to begin behind a row, that one's primary key.
    pub fn chunk(&self, is_first: bool) -> String {
        let (name, keys) = (quoted(self.name), listed("t", self.primary_key));
        let after = if is_first { String::new() } else { format!(" AND {}", self.is_behind(self.next + 1)) };
        self.sized(&format!(
            "SELECT t.* FROM {name} AS t WHERE {}{after} ORDER BY {keys} LIMIT ${}",
            self.condition, self.next
        ))
    }

    /// At the old owner: the rows with these primary keys ([`Table::sized`]). Parameters: the condition's, a JSON list of primary
    /// keys.
    pub fn chunk_of(&self) -> String {
        let name = quoted(self.name);
        self.sized(&format!("SELECT t.* FROM {name} AS t WHERE {} AND {}", self.condition, self.is_one_of(self.next)))
    }

    /// At the old owner: declares a cursor over the primary keys of all rows, in their order, which outlives the transaction.
    /// Parameters: the condition's, and if it is to begin behind a row, that one's primary key.
    pub fn keys(&self, cursor: &str, is_first: bool) -> String {
        let (name, keys) = (quoted(self.name), listed("t", self.primary_key));
        let after = if is_first { String::new() } else { format!(" AND {}", self.is_behind(self.next)) };
        format!(
            "DECLARE {cursor} NO SCROLL CURSOR WITH HOLD FOR SELECT {}::text FROM {name} AS t WHERE {}{after} ORDER BY {keys}",
            keyed("t", self.primary_key),
            self.condition
        )
    }

    /// At the old owner: declares a cursor over all rows (the row; its primary key). Parameters: the condition's.
    pub fn all(&self, cursor: &str) -> String {
        format!(
            "DECLARE {cursor} NO SCROLL CURSOR FOR SELECT {}::text, {}::text FROM {} AS t WHERE {}",
            self.row(),
            keyed("t", self.primary_key),
            quoted(self.name),
            self.condition
        )
    }

    /// At the old owner: the rows with these primary keys (the row; its primary key). Parameters: the condition's, a JSON list of
    /// primary keys.
    pub fn present(&self) -> String {
        format!(
            "SELECT {}::text, {}::text FROM {} AS t WHERE {} AND {}",
            self.row(),
            keyed("t", self.primary_key),
            quoted(self.name),
            self.condition,
            self.is_one_of(self.next)
        )
    }

    /// At the old owner: those of these primary keys that no row of the pieces has. Parameters as of [`Table::present`].
    pub fn missing(&self) -> String {
        let name = quoted(self.name);
        format!(
            "SELECT {}::text FROM jsonb_populate_recordset(NULL::{name}, ${}::jsonb) AS l WHERE NOT EXISTS \
             (SELECT 1 FROM {name} AS t WHERE ({}) = ({}) AND {})",
            keyed("l", self.primary_key),
            self.next,
            listed("t", self.primary_key),
            listed("l", self.primary_key),
            self.condition
        )
    }

    /// At the new owner: writes rows. Parameter: a JSON list of rows.
    pub fn write(&self) -> String {
        let (into, columns) = (quoted(self.into), self.columns.join(", "));
        let values: Vec<_> = self.columns.iter().map(|column| format!("w.{column}")).collect();
        let key: Vec<_> = self.into_key.iter().map(|column| quoted(column)).collect();
        let set: Vec<_> = self.updated.iter().map(|column| format!("{column} = EXCLUDED.{column}")).collect();
        let action = if self.is_history || set.is_empty() {
            "NOTHING".to_owned()
        } else {
            format!("UPDATE SET {}", set.join(", "))
        };
        format!(
            "INSERT INTO {into} ({columns}) OVERRIDING SYSTEM VALUE SELECT {} \
             FROM jsonb_populate_recordset(NULL::{into}, $1::jsonb) AS w ON CONFLICT ({}) DO {action}",
            values.join(", "),
            key.join(", ")
        )
    }

    /// At the new owner: deletes the rows with these primary keys. Parameters as of [`Table::present`].
    pub fn delete(&self) -> String {
        let name = quoted(self.name);
        format!(
            "DELETE FROM {name} AS t WHERE ({}) IN (SELECT {} FROM jsonb_populate_recordset(NULL::{name}, ${}::jsonb) AS l) \
             AND {}",
            listed("t", self.primary_key),
            listed("l", self.primary_key),
            self.next,
            self.condition
        )
    }

    /// On either side: deletes some rows of the pieces. Parameters: the condition's, how many at most.
    pub fn delete_some(&self) -> String {
        let name = quoted(self.name);
        format!(
            "DELETE FROM {name} WHERE ctid = ANY(ARRAY(SELECT t.ctid FROM {name} AS t WHERE {} LIMIT ${}))",
            self.condition, self.next
        )
    }

    /// On either side: how many rows of the pieces there are, and the sum of their hashes as text. Parameters: the condition's.
    pub fn sums(&self) -> String {
        format!(
            "SELECT count(*), CAST(COALESCE(sum(CAST(hashtextextended({}::text, 0) AS NUMERIC)), 0) AS TEXT) \
             FROM {} AS t WHERE {}",
            self.row(),
            quoted(self.name),
            self.condition
        )
    }

    /// At the new owner: which of these rows aren't there as they are, by their place in the list, from 1. Parameter: a JSON list
    /// of rows.
    pub fn absent(&self) -> String {
        let into = quoted(self.into);
        let of = |alias: &str| {
            let columns: Vec<_> = self.columns.iter().map(|column| format!("{alias}.{column}")).collect();
            format!("(SELECT to_jsonb(r) FROM (SELECT {}) AS r)", columns.join(", "))
        };
        // Asked row by row, by its primary key: the server may know nothing yet of a table that was just filled, and would compare
        // each row with each.
        format!(
            "SELECT e.n FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS e(moved, n) \
             CROSS JOIN LATERAL jsonb_populate_record(NULL::{into}, e.moved) AS w \
             WHERE (SELECT {} FROM {into} AS h WHERE ({}) = ({})) IS DISTINCT FROM {}",
            of("h"),
            listed("h", self.into_key),
            listed("w", self.into_key),
            of("w")
        )
    }
}

/// A JSON list of texts that are JSON.
pub(super) fn json_list<S: Borrow<str>>(rows: &[S]) -> String {
    format!("[{}]", rows.join(","))
}

/// Runs [`Table::chunk`].
pub(super) async fn read_chunk(
    connection: &mut PgConnection,
    table: &Table,
    parts: &Parts,
    after: Option<&str>,
    limit: i64,
) -> Result<Chunk, Error> {
    let mut read = parts.bind(statement(table.chunk(after.is_none()))).bind(limit);
    if let Some(after) = after {
        read = read.bind(after.to_owned());
    }
    let mut chunk = Chunk { rows: Vec::new(), last: None };
    for row in read.fetch_all(connection).await? {
        chunk.rows.push(row.try_get(0)?);
        chunk.last = Some(row.try_get(1)?);
    }
    Ok(chunk)
}

/// A row of a table.
#[derive(Debug)]
pub(super) struct Row {
    /// As the new owner is to have it, as JSON.
    pub row: String,
    /// Its primary key, as JSON.
    pub key: String,
}

/// Runs [`Table::present`].
pub(super) async fn read_present(
    connection: &mut PgConnection,
    table: &Table,
    parts: &Parts,
    keys: &[String],
) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for row in parts.bind(statement(table.present())).bind(json_list(keys)).fetch_all(connection).await? {
        rows.push(Row { row: row.try_get(0)?, key: row.try_get(1)? });
    }
    Ok(rows)
}

/// Some rows of a table, in the order of its primary key.
#[derive(Debug)]
pub(super) struct Chunk {
    pub rows: Vec<String>,
    /// The primary key of the last one; `None` at the end.
    pub last: Option<String>,
}
