//! Relays and consumers on real NATS servers, while servers and networks fail.
//!
//! Each case is named by its rule. With `MESHWORK_TEST_FULL=1` faults come more often.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod ageing;
mod alarms;
mod brokers;
#[path = "../stores/checks.rs"]
mod checks;
mod cluster;
mod damaged;
mod flow;
mod holes;
mod lanes;
mod ledger;
mod network;
mod planted;
mod relays;
mod restored;
mod running;
mod servers;
mod shop;
mod stores;
