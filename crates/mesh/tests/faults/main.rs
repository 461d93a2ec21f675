//! Real tonic servers, each in a process of its own on loopback, that fail in all the ways servers do, and what callers of
//! one channel see of it: nothing, as long as a call may be repeated and one server lives.
//!
//! What is asserted are counts: of failed calls, of picks, of what is left behind. Times are only bounds.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests; servers talk to them")]

mod crash;
mod drain;
mod freeze;
mod late;
mod leaks;
mod load;
mod process;
mod reset;
mod server;
mod strange;
