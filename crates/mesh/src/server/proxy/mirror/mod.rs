//! Copies of calls for mirrors.

mod call;
mod copy;
mod counts;
mod room;

pub(super) use self::call::MirroredCalls;
pub use self::call::{MIRRORED, Mirrors};
pub(super) use self::copy::RequestCopy;
pub use self::counts::{MirrorCounts, MirrorLimits};
