//! Read replicas, by real streaming replication: the rules RR-.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod bounded;
mod embedded;
mod example;
mod faults;
mod identity;
mod promotion;
mod retries;
mod tokens;
mod worlds;
