//! How a call ends, as breakers, outlier detection, limits and balancers see it: at its trailers, not at its headers.

mod judgement;
mod status;

pub use self::judgement::{CallerFault, Outcome, PATIENCE};
pub use self::status::grpc_status;
pub use crate::bodies::{Finish, OnEnd, TrackedBody, Untracked};
