//! Rate limits, from the outside: what callers are told, and buckets in a real Redis.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod debt;
mod outage;
mod report;
mod shared;
mod support;
mod wire;
