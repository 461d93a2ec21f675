//! The server, from the outside: calls over connections, most of them in memory and on paused time.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod arrival;
mod bounds;
mod connections;
mod deadlines;
mod drain;
mod h2spec;
mod hostile;
mod opening;
mod order;
mod rolling;
mod streams;
mod support;
mod tls;
