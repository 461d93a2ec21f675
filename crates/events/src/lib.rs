//! Domain events between services.
//!
//! ```text
//! event store ─┐                                              ┌─▶ handler + inbox, in one transaction
//!              ├─▶ Relay ─▶ EventBus (stream, partition) ─▶ Consumer
//! outbox ──────┘                                              └─▶ handler …
//! ```
//!
//! What happened is written with its cause, in the event store or in the [`outbox`] of a SQL store. A [`Relay`] follows
//! that [`Source`] and publishes to an [`EventBus`] in order of position. A [`Consumer`] hands the events to a
//! [`Handler`], at least once and in order; the [`inbox`] makes that once.
//!
//! [`SqliteBus`] is the embedded bus: a durable log in a file. `testing` (a feature) is the suite that every bus passes.

mod backoff;
mod bus;
mod consumer;
pub mod inbox;
pub mod outbox;
mod progress;
mod relay;
mod source;
mod sqlite;
#[cfg(feature = "testing")]
pub mod testing;

pub use bus::{BusError, Envelope, EventBus, Position};
pub use consumer::{Consumer, HandleError, Handler};
pub use progress::Progress;
pub use relay::Relay;
pub use source::{Source, SourceBatch, StoreSource};
pub use sqlite::SqliteBus;
