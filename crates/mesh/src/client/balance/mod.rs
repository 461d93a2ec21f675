//! Balancers: which of the endpoints that are ready takes a call.
//!
//! The channel keeps a snapshot of the endpoints that can take calls and hands it to the [`Picker`]: a pick takes no lock
//! and allocates nothing. Connections, health, outliers and circuit breakers decide what is in the snapshot; a picker
//! only chooses from it. What the endpoints' calls came to is in their [`Load`]: calls in flight, latency and rate of
//! failure.

mod candidate;
mod estimate;
mod failure_rate;
mod latency;
mod least_request;
mod load;
mod peak_ewma;
mod picker;
mod round_robin;
mod select;
mod stamped;
#[cfg(test)]
mod tests;

pub use candidate::Candidate;
pub use least_request::LeastRequest;
pub use load::Load;
pub use peak_ewma::PeakEwma;
pub use picker::{PickArgs, Picker};
pub use round_robin::RoundRobin;
pub(crate) use select::select;
