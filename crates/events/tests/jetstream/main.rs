//! The bus on real NATS servers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod cluster;
mod common;
mod conforms;
mod consume;
mod foreign;
mod publish;
mod read;
mod server;
mod streams;
mod tls;
