//! An append-only store of domain events.
//!
//! A *stream* holds the events of one aggregate, by version from 1. A *commit* is what one command appended to it: all
//! of its events or none. Streams are spread over *partitions*; inside a partition the commits have dense positions
//! from 1, in the order in which they were committed, so that a reader that has seen position n has seen all before it
//! (ES-3).
//!
//! | what | where |
//! |---|---|
//! | the port | [`EventStore`], [`SnapshotStore`] |
//! | its adapters | [`SqliteEventStore`], in a file; `mongodb::MongoEventStore` (feature `mongodb`), a [`CommitLog`] |
//! | following | [`Subscription`], [`projection`] |
//! | aggregates | [`Aggregate`], [`Repository`], [`Event`] with its schemas |
//! | why | [`Context`], which a task carries and a commit keeps |
//! | tests | `testing` (a feature): the suite of every adapter, cases, a corpus of samples |

mod aggregate;
mod context;
mod event;
mod execute;
mod log;
#[cfg(feature = "mongodb")]
pub mod mongodb;
mod partition;
pub mod projection;
mod pulse;
mod remembered;
mod repository;
mod schema;
mod snapshot;
mod sqlite;
mod store;
mod subscription;
#[cfg(feature = "testing")]
pub mod testing;

pub use aggregate::{Aggregate, Loaded, Recorded, SnapshotState, fold, recorded};
pub use context::{Context, MAX_CONTEXT_FIELD_BYTES};
pub use event::{Commit, Damage, NewEvent, Position, StoredEvent, UNREADABLE_STREAM};
pub use execute::{CommandId, ExecuteError, Executed};
pub use log::{CommitLog, CommitLogOptions, CommitServer, InsertError, InsertFailure, ReadError, first_version};
pub use partition::partition_of;
pub use pulse::{Beats, Pulse};
pub use repository::Repository;
pub use schema::{EncodeEvent, Event, EventType, Upcaster, new_event, read_event, written_version};
pub use snapshot::{Snapshot, SnapshotStore};
pub use sqlite::SqliteEventStore;
pub use store::{
    Append, AppendError, Appended, EventStore, Expected, MAX_COMMIT_BYTES, MAX_EVENT_BYTES, MAX_EVENTS, StoreError,
};
pub use subscription::Subscription;
