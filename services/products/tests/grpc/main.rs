//! The service as its callers meet it: over the wire, with an issuer of tokens and a bus beside it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod access;
mod bounds;
mod catalogue;
mod inventory;
mod orders;
mod replicas;
mod shop;
