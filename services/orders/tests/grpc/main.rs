//! The orders service as its callers meet it: the real service in a temporary folder, called with the generated client.
//! The products service is played by a catalogue on the loopback address and by events on the bus.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod access;
mod bounds;
mod catalogue;
mod change;
mod consistency;
mod create;
mod departures;
mod history;
mod inventory;
mod letters;
mod manners;
mod projections;
mod read;
mod refusal;
mod releases;
mod requests;
mod saga;
mod shop;
mod stop;
mod watch;
mod watchdog;
