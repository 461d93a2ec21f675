//! Retries and hedging (gRFC A6).
//!
//! [`run`] repeats what an [`Attempts`](crate::client::retry::Attempts) carries out, as a [`Plan`] says. A channel calls it for
//! each of its calls; [`RetryLayer`] and [`HedgeLayer`] put it around any gRPC service.

mod adapter;
mod attempt;
mod backoff;
mod body;
mod budget;
mod buffers;
mod clock;
mod hedge;
mod layer;
mod log;
mod plan;
mod replay;
mod request;
mod request_body;
mod run;
mod sequence;
mod throttle;
mod verdict;

#[cfg(test)]
mod tests;

pub use adapter::ServiceAttempts;
pub use attempt::{AttemptContext, AttemptError, Attempted, Attempts};
pub use body::{OnSuccess, RetryBody};
pub use budget::Budget;
pub use buffers::Buffers;
pub(crate) use clock::{AttemptClock, Expiry};
pub use layer::{Hedge, HedgeLayer, Retry, RetryLayer};
pub use log::AttemptLog;
pub use plan::Plan;
pub use replay::ReplayBody;
pub use request_body::RequestBody;
pub use run::run;
pub use throttle::Throttle;
