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
mod routing;
mod routing_added;
mod routing_reload;
mod stopping;
mod tokens;
mod upstream;
mod users;
mod weather;
mod world;
