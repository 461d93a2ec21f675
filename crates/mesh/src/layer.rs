//! The tower layers, each usable alone over any gRPC service: under tonic's own channel, under this crate's, or under a
//! client of one's own.
//!
//! ```
//! use std::time::Duration;
//!
//! use meshwork::layer::{CircuitBreakerLayer, DeadlineLayer, RetryLayer};
//! use meshwork::policy::{CircuitBreaker, RetryPolicy};
//! use tonic_health::pb::health_client::HealthClient;
//! use tower::ServiceBuilder;
//!
//! # #[tokio::main] async fn main() {
//! let channel = tonic::transport::Endpoint::from_static("http://[::1]:50051").connect_lazy();
//! // From the outside to the inside: the deadline spans all attempts, and each attempt asks the breaker.
//! let service = ServiceBuilder::new()
//!     .layer(DeadlineLayer::new(Some(Duration::from_secs(2))))
//!     .layer(RetryLayer::new(RetryPolicy::default()))
//!     .layer(CircuitBreakerLayer::new(CircuitBreaker::default()))
//!     .service(channel);
//! let client = HealthClient::new(service);
//! # let _ = client;
//! # }
//! ```

pub use crate::breaker::CircuitBreakerLayer;
pub use crate::deadline::{DeadlineLayer, IncomingDeadlineLayer};
pub use crate::limit::{ConcurrencyLimitLayer, RateLimitLayer};
pub use crate::retry::{HedgeLayer, RetryLayer};
