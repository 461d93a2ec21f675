//! The service as a whole: events in, letters and answers out.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod calls;
mod letters;
mod users;
mod world;
