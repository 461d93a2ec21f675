//! The stores against the conformance suite, and what is their own: embedded, and on a server.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod cached;
mod conforms;
mod embedded;
mod moved;
mod planted;
mod replicas;
mod rooms;
mod sweeps;
mod tables;
