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
/// `index_hint`. See [the module](crate::dialect).
#[macro_export]
macro_rules! dialect {
    (sqlite) => {
        #[allow(unused_imports, reason = "the text takes what it needs")]
        use $crate::dialect::sqlite::{Connection, Database, Driver, FOR_UPDATE, NOW, Row, SKIP_LOCKED, index_hint};
    };
    (postgres) => {
        #[allow(unused_imports, reason = "the text takes what it needs")]
        use $crate::dialect::postgres::{Connection, Database, Driver, FOR_UPDATE, NOW, Row, SKIP_LOCKED, index_hint};
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

    pub use crate::Sqlite as Database;

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
}

/// PostgreSQL.
pub mod postgres {
    pub use sqlx::Postgres as Driver;
    pub use sqlx::postgres::{PgConnection as Connection, PgRow as Row};

    pub use crate::Postgres as Database;

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
}
