//! Clients that know nothing of Rust, at the gateway of a running `up`: in Go, in Python, and in a browser by gRPC-Web and
//! Connect. Each signs up, places an order and follows it until it is confirmed, with stubs that are generated from `proto/`.
//!
//! | file | what it runs |
//! |---|---|
//! | [`orders`] | the clients |
//! | [`conformance`] | the conformance suite of Connect, gRPC and gRPC-Web |
//! | [`page`] | a person at `/docs`, in headless Chromium |
//! | [`openapi`] | schemathesis, which holds the gateway to its OpenAPI document |
//! | [`shop`] | the shop that they meet |
//! | [`tools`] | their tools, which `cargo xtask setup` installs |

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod conformance;
mod openapi;
mod orders;
mod page;
mod shop;
mod tools;
