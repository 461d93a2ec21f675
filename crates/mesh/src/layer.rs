//! The tower layers, each usable alone over any gRPC service: under tonic's own channel, under this crate's, or under a
//! client of one's own.
//!
//! | layer | what it does |
//! |---|---|
//! | [`DeadlineLayer`] | ends calls at their deadline, in the middle of a stream too |
//! | [`IncomingDeadlineLayer`] | on a server: what is left of a call's time bounds the calls that it makes |
//! | [`RateLimitLayer`] | lets so many calls a second go |
//! | [`RetryLayer`], [`HedgeLayer`] | repeat calls by a policy (gRFC A6) |
//! | [`ConcurrencyLimitLayer`] | refuses calls when so many are in flight (gRFC A32) |
//! | [`CircuitBreakerLayer`] | stops calls to a service that fails too often |
//!
//! ```
//! use std::time::Duration;
//!
//! use meshwork::layer::{CircuitBreakerLayer, ConcurrencyLimitLayer, DeadlineLayer, RateLimitLayer, RetryLayer};
//! use meshwork::limit::{ConcurrencyLimit, RateLimit};
//! use meshwork::policy::{self, CircuitBreaker, RetryPolicy};
//! use tonic_health::pb::health_client::HealthClient;
//! use tower::ServiceBuilder;
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // From the outside to the inside: the deadline spans all attempts, and each attempt asks the limit and the breaker.
//! let layers = ServiceBuilder::new()
//!     .layer(DeadlineLayer::new(Some(Duration::from_secs(2))))
//!     .layer(RateLimitLayer::new(RateLimit::new(policy::RateLimit { per_second: 100, burst: 20 })))
//!     .layer(RetryLayer::new(RetryPolicy::default()))
//!     .layer(ConcurrencyLimitLayer::new(ConcurrencyLimit::new("users", "", 64)))
//!     .layer(CircuitBreakerLayer::new(CircuitBreaker::default()));
//!
//! let tonic = tonic::transport::Endpoint::from_static("http://[::1]:50051").connect_lazy();
//! let client = HealthClient::new(layers.clone().service(tonic));
//!
//! let mesh = meshwork::Channel::builder().connect_lazy("dns:///users:50051")?;
//! let client = HealthClient::new(layers.service(mesh));
//! # let _ = client;
//! # Ok(()) }
//! ```
//!
//! The channel does all of this by its [policy](crate::policy), and it knows the endpoints: a retry goes to another one, and
//! a breaker stops one of them and not all. Over the channel, layers are for what one client wants and others of the same
//! channel don't.

pub use crate::breaker::CircuitBreakerLayer;
pub use crate::client::retry::{HedgeLayer, RetryLayer};
pub use crate::deadline::{DeadlineLayer, IncomingDeadlineLayer};
pub use crate::limit::{ConcurrencyLimitLayer, RateLimitLayer};
