//! The stores against the conformance suite, and what is their own: in a file, in one database, and over shards.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod cached;
mod claims;
mod conforms;
mod earlier;
mod events;
mod moving;
mod parts;
mod people;
mod races;
mod replicas;
mod rooms;
mod shards;
mod spellings;
mod writers;
