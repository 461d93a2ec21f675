//! Who calls, and who may call what: tokens that verify and tokens that don't, keys that come and go, and the layers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod cache;
mod issuer;
mod layers;
mod principals;
mod rotation;
mod tokens;
