//! A proxy between clients and a server, over connections in memory and on paused time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../support/echo.rs"]
mod echo;
mod failing;
mod headers;
mod kinds;
mod mirrors;
mod support;
