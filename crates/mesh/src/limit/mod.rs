//! Limits: calls in flight (gRFC A32) and calls a second.

mod concurrency;
mod concurrency_layer;
mod rate;
mod rate_layer;
#[cfg(test)]
mod tests;

pub use self::concurrency::{ConcurrencyLimit, Permit};
pub use self::concurrency_layer::{ConcurrencyFuture, ConcurrencyLimitLayer, ConcurrencyLimitService};
pub use self::rate::RateLimit;
pub use self::rate_layer::{RateFuture, RateLimitLayer, RateLimitService};
