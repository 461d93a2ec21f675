//! What meets the world.

pub mod cached;
mod convert;
pub mod errors;
mod events;
pub mod grpc;
pub mod orders_events;
pub mod store;
pub mod stores;
pub mod sweeper;
