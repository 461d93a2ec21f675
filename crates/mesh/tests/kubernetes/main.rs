//! `k8s:///` against an API server that says what the test tells it: what is asked of it, what becomes of its answers,
//! and how it is got on with when it is away. The last part is real: HTTP, gRPC servers, calls.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod api;
mod calls;
mod faults;
mod following;
