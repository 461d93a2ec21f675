//! What was written while a move is under way: read from the log, and done at the new owner.
//!
//! The log says which rows were written; how they are is read from the tables, in the same snapshot. So a change may be done
//! twice, and in any order: the last one that is done says how the rows are.

use std::collections::BTreeSet;

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use super::pieces::{Parts, statement};
use super::tables::{Row, Table, json_list, read_present};
use crate::Error;

/// The beginning of the log and the rows that it names.
#[derive(Debug)]
pub(super) struct Changes {
    /// The log's rows.
    pub logged: Vec<i64>,
    /// Whether they are all that the snapshot has.
    pub is_whole: bool,
    tables: Vec<Change>,
}

#[derive(Debug)]
struct Change {
    /// Its place in the list of tables.
    table: usize,
    /// The primary keys in the log.
    keys: Vec<String>,
    /// The rows with them,
    present: Vec<String>,
    /// and which of the primary keys these are.
    written: Vec<String>,
    /// The primary keys that no row has.
    missing: Vec<String>,
}

/// What is done first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Rows are written, then deleted: a row may have changed to another parent before its own was deleted.
    Written,
    /// Rows are deleted, then written: a row may have taken over the unique value of one that was deleted.
    Deleted,
    /// All are deleted, then written: rows may have exchanged unique values.
    Anew,
}

impl Changes {
    /// Reads up to `limit` rows of the log, in a snapshot. Changes of tables from the number `upto` on are passed over: they are
    /// copied later.
    pub async fn read(
        snapshot: &mut PgConnection,
        tables: &[Table],
        parts: &Parts,
        upto: usize,
        limit: i64,
    ) -> Result<Self, Error> {
        let read = statement("SELECT seq, tab, pk::text FROM shard_log ORDER BY seq LIMIT $1").bind(limit);
        let (mut logged, mut keys) = (Vec::new(), vec![BTreeSet::new(); upto]);
        for row in read.fetch_all(&mut *snapshot).await? {
            logged.push(row.try_get(0)?);
            let (name, key): (String, String) = (row.try_get(1)?, row.try_get(2)?);
            for (table, keys) in tables.iter().zip(&mut keys) {
                if table.name == name {
                    keys.insert(key.clone());
                }
            }
        }
        let is_whole = i64::try_from(logged.len()).is_ok_and(|read| read < limit);
        let mut changes = Self { logged, is_whole, tables: Vec::new() };
        for (table, keys) in keys.into_iter().enumerate().filter(|(_, keys)| !keys.is_empty()) {
            let keys: Vec<String> = keys.into_iter().collect();
            let rows = read_present(snapshot, &tables[table], parts, &keys).await?;
            let (present, written) = rows.into_iter().map(|Row { row, key }| (row, key)).unzip();
            let missing = if tables[table].is_history {
                Vec::new()
            } else {
                texts(snapshot, tables[table].missing(), parts, &json_list(&keys)).await?
            };
            changes.tables.push(Change { table, keys, present, written, missing });
        }
        Ok(changes)
    }

    /// Whether there is nothing to do at the new owner.
    pub fn are_none(&self) -> bool {
        self.tables.iter().all(|change| change.present.is_empty() && change.missing.is_empty())
    }

    /// The rows of the pieces that were written: the table's place in the list, and their primary keys.
    pub fn written(&self) -> impl Iterator<Item = (usize, &[String])> {
        self.tables.iter().map(|change| (change.table, change.written.as_slice()))
    }

    /// Does them at the new owner, in a transaction.
    pub async fn apply(
        &self,
        connection: &mut PgConnection,
        tables: &[Table],
        parts: &Parts,
        order: Order,
    ) -> Result<(), Error> {
        if order != Order::Written {
            self.delete(connection, tables, parts, order).await?;
        }
        for change in &self.tables {
            write(connection, &tables[change.table], &change.present).await?;
        }
        if order == Order::Written {
            self.delete(connection, tables, parts, order).await?;
        }
        Ok(())
    }

    /// Children first.
    async fn delete(
        &self,
        connection: &mut PgConnection,
        tables: &[Table],
        parts: &Parts,
        order: Order,
    ) -> Result<(), Error> {
        for change in self.tables.iter().rev() {
            let table = &tables[change.table];
            let keys = if order == Order::Anew { &change.keys } else { &change.missing };
            if !keys.is_empty() && !table.is_history {
                parts.bind(statement(table.delete())).bind(json_list(keys)).execute(&mut *connection).await?;
            }
        }
        Ok(())
    }
}

/// Writes rows of a table at the new owner.
pub(super) async fn write(connection: &mut PgConnection, table: &Table, rows: &[String]) -> Result<(), Error> {
    if !rows.is_empty() {
        statement(table.write()).bind(json_list(rows)).execute(connection).await?;
    }
    Ok(())
}

async fn texts(connection: &mut PgConnection, sql: String, parts: &Parts, keys: &str) -> Result<Vec<String>, Error> {
    let rows = parts.bind(statement(sql)).bind(keys.to_owned()).fetch_all(connection).await?;
    let mut texts = Vec::with_capacity(rows.len());
    for row in rows {
        texts.push(row.try_get(0)?);
    }
    Ok(texts)
}
