//! The gateway before real servers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod access_log;
mod choosing;
mod docs;
mod exchange;
mod health;
mod http;
mod limits;
mod passing;
mod stopping;
mod upstream;
mod users;
mod world;
