//! The server, from the outside: calls over connections, most of them in memory and on paused time.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod access;
mod answers;
mod arrival;
mod balancers;
mod bounds;
mod callers;
mod clients;
mod clones;
mod connections;
mod contracts;
mod deadlines;
mod drain;
#[path = "../support/echo.rs"]
mod echo;
mod endless;
mod ends;
mod expiry;
mod forged;
mod forwarded;
mod h2spec;
mod hooks;
mod hostile;
mod http;
mod http1;
mod inherited;
mod instruments;
mod limit_reports;
mod listeners;
mod metrics;
mod opening;
mod order;
mod plans;
mod records;
mod reflection;
mod requests;
mod rolling;
mod scopes;
mod streams;
mod support;
mod tls;
mod wire;
