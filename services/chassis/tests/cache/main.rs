//! A cache is told of what was committed, though nobody has told it (CA-3); and what staff is told of it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod away;
mod follower;
mod history;
mod log;
mod staff;
mod world;
