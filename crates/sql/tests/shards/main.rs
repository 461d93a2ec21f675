//! Keys over several databases: the maps by themselves, and real databases under them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod golden;
mod histories;
mod maps;
mod opening;
mod ownership;
mod plans;
mod retention;
mod routing;
mod worlds;
