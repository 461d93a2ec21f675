//! Which method goes where, and how many calls a client may make.

mod limits;
mod routes;

pub use limits::{Client, InvalidRate, RateLimits};
pub use routes::{Method, Route, RouteTable, Upstream};
