//! The cache on real Redis: the rules CA-1 … CA-9 by name, faults under load, and all orders of a fill and a write.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod cluster;
mod envelope;
mod fills;
mod link;
mod negatives;
mod outage;
mod race;
mod recovery;
mod roles;
mod server;
mod stampede;
mod tags;
mod tracking;
mod traffic;
mod truth;
mod world;
