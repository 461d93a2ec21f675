//! The real binary, driven as its users drive it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod api;
mod audit;
mod buyers;
mod cache_databases;
mod cache_faults;
mod caches;
mod command_line;
mod crash_points;
mod crashes;
mod demo;
mod departures;
mod instances;
mod letters;
mod load;
mod mesh;
mod metrics;
mod migrations;
mod nats;
mod nats_services;
mod planted;
mod postgres;
mod processes;
mod projections;
mod proof;
mod readme;
mod releases;
mod replicas;
mod restored;
mod shards;
mod shop;
mod sign_ups;
mod stopping;
mod stores;
mod tail;

/// Whether the long runs were asked for: `cargo xtask test --full`.
fn full() -> bool {
    std::env::var_os("MESHWORK_TEST_FULL").is_some()
}
