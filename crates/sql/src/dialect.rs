//! One SQL text for two drivers: what they differ in, by the same names.
//!
//! A module that is compiled once for each driver takes its items from [`dialect!`](crate::dialect!):
//!
//! ```text
//! #[path = "."]                 // both modules lie in this file's folder
//! pub mod sqlite {
//!     meshwork_sql::dialect!(sqlite);
//!     mod books;                // books.rs, with `use super::{Connection, Database, NOW};`
//! }
//! #[path = "."]
//! pub mod postgres {
//!     meshwork_sql::dialect!(postgres);
//!     mod books;                // the same file again
//! }
//! ```
//!
//! Statements number their parameters (`$1`, `$2`, …), which both drivers understand. Only statements of queues and claims,
//! which lock rows or name indexes, differ, and only by [`FOR_UPDATE`](sqlite::FOR_UPDATE),
//! [`SKIP_LOCKED`](sqlite::SKIP_LOCKED) and [`index_hint`](sqlite::index_hint). `tests/dialect/` is the suite.
//!
//! What a text must heed: PostgreSQL has no unsigned numbers, and no NUL in texts ([`printable`]); it takes one statement at
//! a time; texts are ordered byte by byte where their columns are `COLLATE "C"`; after a statement has failed the whole
//! transaction has, unless a savepoint is gone back to.

use std::borrow::Cow;

/// Brings a driver's items into a module: `Database`, `Driver`, `Connection`, `Row`, `NOW`, `FOR_UPDATE`, `SKIP_LOCKED` and
/// `index_hint`; of a database that may be a shard, `owned`, `check_owned`, `not_foreign` and `map_mark`. See [the module](crate::dialect).
#[macro_export]
macro_rules! dialect {
    (sqlite) => {
        #[allow(unused_imports, reason = "the text takes what it needs")]
        use $crate::dialect::sqlite::{
            Connection, Database, Driver, FOR_UPDATE, NOW, Row, SKIP_LOCKED, check_owned, index_hint, map_mark,
            not_foreign, owned,
        };
    };
    (postgres) => {
        #[allow(unused_imports, reason = "the text takes what it needs")]
        use $crate::dialect::postgres::{
            Connection, Database, Driver, FOR_UPDATE, NOW, Row, SKIP_LOCKED, check_owned, index_hint, map_mark,
            not_foreign, owned,
        };
    };
}

/// A text as every driver stores it: without NUL, which PostgreSQL refuses.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// SQLite.
pub mod sqlite {
    pub use sqlx::Sqlite as Driver;
    pub use sqlx::sqlite::{SqliteConnection as Connection, SqliteRow as Row};

    use crate::Error;
    pub use crate::Sqlite as Database;
    use crate::shards::place::Place;

    /// The time by the database's clock, in microseconds since 1970.
    pub const NOW: &str = "CAST(unixepoch('subsec') * 1000000 AS INTEGER)";
    /// Ends a SELECT whose rows are locked until the transaction's end. The one writer needs none.
    pub const FOR_UPDATE: &str = "";
    /// Ends a SELECT that takes rows which nobody has locked, and locks them.
    pub const SKIP_LOCKED: &str = "";

    /// Names the index that a table in a FROM is read by: left to itself, SQLite may take one that sorts or scans.
    pub fn index_hint(index: &str) -> String {
        format!(" INDEXED BY {index}")
    }

    /// Whether the database owns a piece: a condition over three parameters, `$first` and the next ones, bound as `i64`: the
    /// space, the piece and the version. One file holds everything, so that it is always true.
    pub fn owned(first: usize) -> String {
        format!("(${first} IS NOT NULL AND ${} IS NOT NULL AND ${} IS NOT NULL)", first + 1, first + 2)
    }

    /// Whether a row doesn't lie here only because its piece is being moved: a condition for lists, over the row's columns of
    /// slot and key. Always true.
    pub fn not_foreign(slot: &str, key: &str, space: i16) -> String {
        _ = (slot, key, space);
        "TRUE".to_owned()
    }

    /// Whether the database owns a piece, asked after a read by [`owned`] that has found nothing. Always.
    ///
    /// # Errors
    /// None.
    pub async fn check_owned(connection: &mut Connection, place: Place) -> Result<(), Error> {
        _ = (connection, place);
        Ok(())
    }

    /// A number that is equal where the shard maps are. One file has none, and so always the same.
    ///
    /// # Errors
    /// None.
    pub async fn map_mark(connection: &mut Connection) -> Result<i64, Error> {
        _ = connection;
        Ok(0)
    }
}

/// PostgreSQL.
pub mod postgres {
    pub use sqlx::Postgres as Driver;
    pub use sqlx::postgres::{PgConnection as Connection, PgRow as Row};

    use sqlx::Row as _;

    use crate::Error;
    pub use crate::Postgres as Database;
    use crate::shards::place::Place;

    /// The time by the database's clock, in microseconds since 1970: that of the statement, not of the transaction's
    /// beginning, since a transaction may have waited. What is compared with a column that has an index is
    /// `(SELECT {NOW})`: the time changes while a statement runs, which keeps the planner from the index.
    pub const NOW: &str = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)";
    /// Ends a SELECT whose rows are locked until the transaction's end.
    pub const FOR_UPDATE: &str = " FOR UPDATE";
    /// Ends a SELECT that takes rows which nobody has locked, and locks them. With a LIMIT it stands in a `WITH … AS MATERIALIZED`:
    /// in an `IN (SELECT …)` PostgreSQL may carry it out once for each row, and take other rows each time.
    pub const SKIP_LOCKED: &str = " FOR UPDATE SKIP LOCKED";

    /// Nothing: the planner knows the tables.
    pub fn index_hint(_index: &str) -> String {
        String::new()
    }

    /// Whether the database owns a piece: a condition over three parameters, `$first` and the next ones, bound as `i64`: the
    /// space, the piece and the version. What is fenced is owned, and read.
    pub fn owned(first: usize) -> String {
        let (piece, version) = (first + 1, first + 2);
        format!(
            "EXISTS (SELECT 1 FROM shard_owned o WHERE o.space = ${first} AND o.piece = ${piece} AND o.version = ${version})"
        )
    }

    /// Whether a row doesn't lie here only because its piece is being moved: a condition for lists, over the row's columns of
    /// slot and key (`u.slot`, `u.id`), which are texts of the caller's program; the key's is `TEXT COLLATE "C"`.
    pub fn not_foreign(slot: &str, key: &str, space: i16) -> String {
        format!(
            "NOT EXISTS (SELECT 1 FROM shard_foreign f WHERE f.space = {space} AND (f.slot = {slot} OR (f.slot IS NULL AND \
             {key} >= f.low AND (f.high IS NULL OR {key} < f.high))))"
        )
    }

    /// Whether the database owns a piece, asked after a read by [`owned`] that has found nothing.
    ///
    /// # Errors
    /// [`Error::StaleMap`] when it doesn't; what the read met.
    pub async fn check_owned(connection: &mut Connection, place: Place) -> Result<(), Error> {
        let sql = "SELECT version FROM shard_owned WHERE space = $1 AND piece = $2";
        let found = sqlx::query(sql).bind(place.space).bind(place.piece).fetch_optional(connection).await?;
        let version = found.map(|row| row.try_get::<i64, _>(0)).transpose()?;
        if version == Some(place.version) {
            return Ok(());
        }
        let Place { space, piece, version } = place;
        Err(Error::StaleMap(format!("piece {piece} of space {space} is not owned here at version {version}")))
    }

    /// A number that is equal where the shard maps of databases are: read it in the snapshot of what it is to vouch for, or
    /// before and after. 0 before there is a map.
    ///
    /// # Errors
    /// What the read met.
    pub async fn map_mark(connection: &mut Connection) -> Result<i64, Error> {
        let found = sqlx::query("SELECT mark FROM shard_map").fetch_optional(connection).await?;
        Ok(found.map(|row| row.try_get(0)).transpose()?.unwrap_or_default())
    }
}
