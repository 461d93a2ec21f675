//! The service as its callers meet it: over its port, on stores in a folder of the test's own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod attempts;
mod audit;
mod bounds;
mod changes;
mod contexts;
mod erasure;
mod issuers;
mod keys;
mod keys_only;
mod letters;
mod owners;
mod repeats;
mod replicas;
mod session_lists;
mod sessions;
mod shards;
mod sign_up;
mod spellings;
mod start;
mod tokens;
mod views;
mod world;
