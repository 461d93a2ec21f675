//! For tests: the suite that every adapter passes, a store in memory, and cases of aggregates.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod case;
mod conformance;
mod golden;
mod memory;

pub use case::Case;
pub use conformance::{command, conformance};
pub use golden::Corpus;
pub use memory::{MemoryServer, memory_store};
