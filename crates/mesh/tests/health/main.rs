//! The health of a server as others see it: gRPC clients, probes and `grpcurl` through a real server, and load balancers,
//! monitors and Prometheus through the ops port, and probes through the health port.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod grpc;
mod ops;
mod port;
mod support;
