//! What meets the world.

mod aggregate;
pub mod catalogue;
mod codec;
mod convert;
pub mod customer_events;
pub mod customers;
pub mod errors;
pub mod event_store;
pub mod grpc;
mod money;
pub mod parked;
#[cfg(feature = "ablation")]
mod planted;
pub mod projections_grpc;
pub mod projector;
pub mod read_model;
pub mod stock_events;
pub mod stores;
pub mod watchdog;
