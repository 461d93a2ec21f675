//! How a call ends, as breakers, outlier detection, limits and balancers see it: at its trailers, not at its headers.

mod judgement;
mod status;

pub use self::judgement::{CallerFault, Outcome};
pub(crate) use self::status::{CODE_NAMES, grpc_status};
pub use crate::bodies::{Finish, TrackedBody, Untracked};
