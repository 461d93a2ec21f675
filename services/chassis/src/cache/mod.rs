//! What a service remembers of its database (CA-): in its process, and in Redis if there is one.
//!
//! A service that changes something tells its cache at once. Whatever ends between the commit and that, a [`Follower`] makes up for:
//! it reads what the outbox has announced and drops it again from the cache (CA-3), as long as there is a Redis: without one nothing
//! is cached for longer than a second.

mod follower;
mod grpc;
mod history;
mod open;
mod outdated;
mod places;
mod position;

pub use follower::Follower;
pub use grpc::{CACHE_DISABLED, CACHE_ERRORS, CacheGrpc};
pub use open::open;
pub use outdated::{Invalidated, cause};
pub use position::{TakenPositions, loaded_at, position, wanted};
