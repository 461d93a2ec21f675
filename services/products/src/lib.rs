//! The products service: what is for sale, how many pieces there are, and for whom they are kept.
//!
//! Staff call it to keep the catalogue and the stocks. Orders don't call it to reserve pieces: it hears of them by
//! their events, keeps the pieces or doesn't, and says so by events of its own. Pieces that are held for an order which
//! isn't confirmed in time are let go. Reservations, the ledger and the corrections of stocks are the books of the shop: they
//! are kept for good.
//!
//! | room | holds |
//! |---|---|
//! | [`domain`] | products, stocks and the machine of reservations, as plain functions |
//! | [`app`] | the use cases |
//! | [`ports`] | what they need: a catalogue and an inventory |
//! | [`adapters`] | gRPC, the events of orders, the sweeper, the stores in SQLite and PostgreSQL, a cache before them |
//! | `testing` | (a feature) the suite that every adapter of the stores passes |

pub mod adapters;
pub mod app;
mod config;
pub mod domain;
pub mod ports;
mod serve;
#[cfg(feature = "testing")]
pub mod testing;

pub use adapters::stores::place;
pub use config::Config;
pub use serve::{migrate, serve};
