//! Which method goes where, and for whom calls are counted.

mod client;
mod routes;

pub use client::Client;
pub use routes::{Method, Route, RouteTable, Upstream};
