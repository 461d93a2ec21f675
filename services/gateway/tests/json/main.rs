//! The gateway before real servers, by HTTP/JSON.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod calling;
mod client;
mod refusing;
mod upstream;
mod watching;
mod world;
