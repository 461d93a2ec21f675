//! Which method goes where.

mod routes;

pub use routes::{Method, Route, RouteTable, SERVICE, Upstream};
