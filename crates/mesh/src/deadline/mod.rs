//! Deadlines: how they travel, from an incoming call to the outgoing ones, and how they end a call.

mod effective;
mod future;
mod incoming;
mod layer;
mod scope;
#[cfg(test)]
mod tests;
mod timeout;

pub(crate) use self::effective::{effective, of_incoming};
pub use self::future::DeadlineFuture;
pub use self::incoming::{IncomingDeadlineLayer, IncomingDeadlineService, IncomingFuture};
pub use self::layer::{DeadlineLayer, DeadlineService};
pub(crate) use self::scope::within;
pub use self::scope::{ScopedBody, ScopedFuture, current, scope};
pub(crate) use self::timeout::{GRPC_TIMEOUT, encode_timeout};
pub use self::timeout::{InvalidTimeout, parse_timeout};
pub use crate::bodies::{DeadlineBody, Exceeded, ExpiryStatus};
