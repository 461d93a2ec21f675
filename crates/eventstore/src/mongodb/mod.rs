//! The adapter for MongoDB, and for servers that speak its protocol.
//!
//! Commits are documents that are only ever inserted; neither transactions, change streams nor atomic updates are asked
//! for (MG-1). What is asked for is probed at the start (MG-5): unique indexes that are enforced.
//!
//! | module | holds |
//! |---|---|
//! | [`options`] | the connection: URI, pools, timeouts, concerns |
//! | [`open`] | what the store makes when it is opened: indexes, the number of partitions, where each lives |
//! | [`probe`] | what the server can do |
//! | [`error`] | what is wrong with a server |
//! | [`document`] | a commit as a document |
//! | [`server`] | the reads and the insert that the commit log is made of |
//! | [`snapshots`] | snapshots beside the commits |

mod document;
mod error;
mod open;
mod options;
mod probe;
mod server;
mod snapshots;

pub use self::error::OpenError;
pub use self::options::{DatabaseRange, MongoOptions};
pub use self::probe::Capabilities;
pub use self::server::MongoServer;

/// An event store on MongoDB.
pub type MongoEventStore = crate::CommitLog<MongoServer>;
