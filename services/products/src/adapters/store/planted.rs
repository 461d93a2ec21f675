//! Bugs that a store can be given, so that tests show that they would be found.

use meshwork_chassis::ablation::is_planted;
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
    /// Nobody asks whether an event was applied before.
    NoInbox,
    /// That an event was applied is noted in a transaction of its own, before its effect.
    InboxApart,
}

impl Planted {
    /// The bug that this process was started with, if any.
    pub fn chosen() -> Option<Self> {
        let bugs =
            [("no_inbox", Self::NoInbox), ("inbox_apart", Self::InboxApart), ("read_then_write", Self::ReadThenWrite)];
        bugs.into_iter().find(|(name, _)| is_planted(name)).map(|(_, bug)| bug)
    }
}
