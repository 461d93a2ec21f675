//! The service as its callers meet it: over its port, on stores in a folder of the test's own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod attempts;
mod audit;
mod bounds;
mod changes;
mod contexts;
mod letters;
mod replicas;
mod sessions;
mod shards;
mod sign_up;
mod start;
mod tokens;
mod views;
mod world;
