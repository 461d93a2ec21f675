//! Streams of messages as bodies, the same for channel, server and layers: where a message begins and ends, how long one may
//! be, until when a stream may last, and how it ended.

mod counted;
mod deadline;
mod error;
mod framing;
mod lengths;
mod tracked;

pub use self::counted::{CountedBytes, SharedBytes};
pub use self::deadline::{DeadlineBody, Exceeded, ExpiryStatus};
pub use self::framing::Framing;
pub use self::lengths::LengthLimitedBody;
pub use self::tracked::{Finish, TrackedBody, Untracked};
