//! A commit log on a database that has unique indexes and majority reads, and nothing else.

mod server;

pub use server::{CommitServer, InsertError, ReadError, first_version};
