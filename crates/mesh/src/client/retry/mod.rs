//! Retries and hedging (gRFC A6).
//!
//! `run` repeats what an `Attempts` carries out, as a `Plan` says. A channel calls it for each of its calls; [`RetryLayer`] and
//! [`HedgeLayer`] put it around any gRPC service.

mod adapter;
mod attempt;
mod backoff;
mod body;
mod budget;
mod buffers;
mod clock;
mod field;
mod hedge;
mod layer;
mod log;
mod once;
mod plan;
mod replay;
mod request;
mod request_body;
mod request_id;
mod run;
mod sequence;
mod throttle;
mod verdict;

#[cfg(test)]
mod tests;

pub(crate) use attempt::{AttemptContext, AttemptError, Attempted, Attempts};
pub use body::{OnSuccess, RetryBody};
pub use budget::Budget;
pub use buffers::Buffers;
pub(crate) use clock::{AttemptClock, Expiry};
pub use layer::{Hedge, HedgeLayer, Retry, RetryLayer};
pub(crate) use log::AttemptLog;
pub use once::NoRetry;
pub(crate) use once::Unbuffered;
pub(crate) use plan::Plan;
pub(crate) use request::Repeatable;
pub(crate) use request_body::RequestBody;
pub(crate) use request_id::RequestIdRule;
pub use request_id::RequestIds;
pub(crate) use run::run;
pub use throttle::Throttle;
