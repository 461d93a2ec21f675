//! For tests: the suite that every adapter passes, a store in memory, and cases of aggregates.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod conformance;
mod memory;

pub use conformance::{command, conformance};
pub use memory::{MemoryServer, memory_store};
