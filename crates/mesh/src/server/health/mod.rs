//! How a server is, by gRPC's health checking protocol (`grpc.health.v1`) and its own checks.
//!
//! | name | SERVING while |
//! |---|---|
//! | `startup` | every required [`Check`] has passed once, and every [`Condition`] is met; it stays so |
//! | `liveness` | the runtime's heartbeat is younger than 30 s; nothing else counts, neither the start nor the stop |
//! | `readiness` | it has started, and no required check has failed |
//! | `""`, and the name of each gRPC service | as `readiness`, unless [`Health::set`] says otherwise |
//!
//! But for `liveness`, all of them are NOT_SERVING until [`Health::open`], which [`Health::service`] does, and again from
//! [`Health::drain`] on, whatever happens. Whoever asks for `liveness` restarts what isn't alive: a server that still waits for
//! something, or that stops, would only be kept from it.
//!
//! [`HealthPort`](super::HealthPort) answers the same on a port of its own.
//!
//! A check is required when this server alone depends on what it looks at, such as its own file. A back end that all
//! instances share makes them all unready at once when it fails, and leaves nobody who could answer that it does: let such a
//! check degrade.
//!
//! ```
//! use std::time::Duration;
//! use meshwork::server::health::{Check, Health};
//!
//! # #[tokio::main] async fn main() {
//! let health = Health::new();
//! health.check(Check::new("database", || async { Ok::<_, String>(()) }).required(true));
//! health.check(Check::lag("relay", 30.0, || async { Ok::<_, String>(0.5) }));
//! let keys = health.condition("keys");
//! keys.met();
//! let service = health.service();
//! assert!(health.ready().await);
//! # let _ = service; }
//! ```

mod check;
mod heart;
mod registry;
mod report;
mod state;
#[cfg(test)]
mod tests;
mod watch;

pub use self::check::Check;
pub use self::registry::{Condition, Health};
pub use self::report::{CheckReport, CheckState, Overall, Problem, Report, Severity};
pub use self::watch::HealthService;
pub(super) use self::watch::REQUEST;
pub use tonic_health::ServingStatus;
