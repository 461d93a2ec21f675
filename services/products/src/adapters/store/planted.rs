//! Bugs that a store can be given, so that tests show that they would be found.

use time::Duration;

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Lines are moved in the order in which orders name them.
    NoLockOrder,
    /// Whether a hold is over is decided by the application's clock, which is this far ahead.
    ApplicationClock(Duration),
    /// A stock is read, and then written by value.
    ReadThenWrite,
}
