//! Connectors.

mod memory;
