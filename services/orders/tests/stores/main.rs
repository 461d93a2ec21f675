//! The orders' stores against the conformance suites, and what is their own: embedded ones and servers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod ahead;
mod projections;
mod replicas;
mod rooms;
mod view;
mod waiting;
