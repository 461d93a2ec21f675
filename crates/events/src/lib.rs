//! Domain events between services.
//!
//! ```text
//! event store ─┐                                              ┌─▶ handler + inbox, in one transaction
//!              ├─▶ Relay ─▶ Bus (lanes of a stream) ─▶ Consumer ──▶ dead letters
//! outbox ──────┘                                              └─▶ handler …
//! ```
//!
//! What happened is written with its cause, in the event store or in the [`outbox`] of a SQL store. A [`Relay`] follows
//! that [`Source`] and publishes to a [`Bus`] in order of position. A [`Consumer`] hands the events to a [`Handler`], in order,
//! and again only where it isn't known whether it was done; the [`inbox`] makes that once. What it misses it fetches from
//! the events' owner ([`StreamReader`]); what can't be handled waits as a [`DeadLetter`] in the consumer's database until a
//! [`Redriver`] hands it over again, or somebody gives it up.
//!
//! A source may lie in several databases: each shard has an outbox ([`outbox`]), a relay and lanes of its own in one stream.
//! [`ShardedState`] is what all of them have parked.
//!
//! [`SqliteBus`] is the embedded bus: a durable log in a file. `jetstream` (a feature) is the one on NATS. `testing` (a
//! feature) is the suite that every bus passes.

mod backoff;
mod best_effort;
mod bus;
#[cfg(feature = "jetstream")]
mod cloudevents;
mod consumer;
mod dead_letters;
mod deliverer;
mod envelope;
mod handler;
pub mod inbox;
#[cfg(feature = "jetstream")]
pub mod jetstream;
pub mod outbox;
mod progress;
mod redrive;
mod relay;
mod sharded;
mod source;
mod sqlite;
mod state;
#[cfg(feature = "testing")]
pub mod testing;

pub use best_effort::BestEffort;
pub use bus::{
    Batch, Bus, BusError, Delivery, Lane, MAX_MESSAGE_BYTES, Publisher, ReadFrom, Reader, Resume, Scope, Subscription,
};
pub use consumer::Consumer;
pub use dead_letters::{DeadLetter, LetterCursor, ParkedSummary};
pub use envelope::{Envelope, Position};
pub use handler::{HandleError, Handler};
pub use meshwork_eventstore::Context;
pub use progress::Progress;
pub use redrive::{Redriven, Redriver};
pub use relay::{Published, Relay};
pub use sharded::ShardedState;
pub use source::{Damaged, Source, SourceBatch, SourceCommit, StoreSource, StreamReader};
pub use sqlite::SqliteBus;
pub use state::ConsumerState;

/// Compiles the code of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
