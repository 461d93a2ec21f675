//! What a cache promises: in the process alone, and over a remote tier that these tests steer. Time is paused.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod bounds;
mod fake;
mod fills;
mod freshness;
mod invalidation;
mod leaders;
mod outages;
mod over_remote;
mod source;
