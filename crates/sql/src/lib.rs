//! SQL stores: how they are opened, migrated and written to, with one SQL text for two drivers.
//!
//! [`Sqlite`] is the embedded store: one file, one writer that commits the work of many callers at once, many readers.
//! [`Postgres`] is the real one: a pool of connections to a server. [`dialect`] lets one text serve both.
//!
//! [`Component`] is a set of tables with its migrations; a store is the sum of its components. [`Error::kind`] says what a
//! failure means, whatever the driver. [`replay`] makes a write repeatable by a request id; [`identity`] names a database.
//!
//! [`Postgres::read`] takes what only reads to a read replica that is as fresh as its [`Freshness`] asks.

mod bounded;
mod carried;
mod commit;
pub mod dialect;
mod error;
pub mod identity;
mod lease;
mod micros;
mod migrate;
mod observer;
mod postgres;
mod postgres_options;
pub mod replay;
mod replicas;
pub mod shards;
mod sqlite;

pub use bounded::bounded;
pub use carried::{Carrying, carried, carrying};
pub use commit::on_commit;
pub use error::{Error, Kind, WorkError};
pub use micros::{from_micros, to_micros};
pub use migrate::{AppliedMigration, Component, Migrations};
pub use observer::{Observer, PoolStats, TransactionEnd};
pub use postgres::Postgres;
pub use postgres_options::PostgresOptions;
pub use replicas::{Freshness, InvalidPosition, ReplicaStats, WalPosition};
pub use shards::{Place, ShardId};
pub use sqlite::Sqlite;

/// Compiles the code of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
