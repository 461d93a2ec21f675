//! What the gateway answers besides gRPC.

pub mod client;
mod connect;
mod connect_streams;
mod cors;
mod grpc_web;
mod large;
