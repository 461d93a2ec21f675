//! The gateway before real servers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod choosing;
mod docs;
mod health;
mod http;
mod limits;
mod passing;
mod routing;
mod routing_added;
mod routing_reload;
mod stopping;
mod upstream;
mod weather;
mod world;
