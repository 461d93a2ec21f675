//! The rules of the gRFCs as seen through a whole channel: generated-client calls over scripted HTTP/2 servers in memory,
//! on paused time, with injected randomness.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod names;
mod places;
mod support;

mod a17_health;
mod a21_config;
mod a32_limits;
mod a50_outliers;
mod a61_pick_first;
mod a6_hedging;
mod a6_retry;
mod authorities;
mod balance;
mod breaker;
mod callers;
mod calls;
mod connections;
mod deadlines;
mod hostile_callers;
mod hostile_servers;
mod leaks;
mod request_ids;
mod runtimes;
mod transport;
mod traps;
mod why;
