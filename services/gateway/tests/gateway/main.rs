//! The gateway before real servers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod choosing;
mod docs;
mod health;
mod http;
mod limits;
mod passing;
mod stopping;
mod upstream;
mod world;
