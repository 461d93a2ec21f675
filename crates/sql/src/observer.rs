//! What a pool tells of itself, for metrics.

use std::fmt;
use std::time::Duration;

/// How a transaction has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransactionEnd {
    /// What it wrote stands.
    Committed,
    /// Its work returned an error; nothing was written.
    Undone,
    /// Another transaction was in the way, each time; nothing was written.
    Conflict,
    /// It could not begin.
    NotBegun,
    /// It was refused at its beginning: its database doesn't own what it writes, or not any more.
    Misplaced,
    /// Its commit has failed or was not answered; what it wrote may stand.
    OutcomeUnknown,
}

/// Is told what happens, at once and on the path of the call: it must be quick.
pub trait Observer: Send + Sync + 'static {
    /// A transaction got its connection after `waited`, or didn't get one in time.
    fn connection(&self, waited: Duration, acquired: bool) {
        _ = (waited, acquired);
    }

    /// A read begins at the server `HOST:PORT`: at a replica or at the primary, and `again` when a replica has failed it before.
    fn read(&self, server: &str, replica: bool, again: bool) {
        _ = (server, replica, again);
    }

    /// A transaction has ended, `took` after it was asked for. Its work was done `attempts` times: more than once when other
    /// transactions were in the way.
    fn transaction(&self, took: Duration, attempts: u32, end: TransactionEnd) {
        _ = (took, attempts, end);
    }
}

impl fmt::Debug for dyn Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// A pool at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStats {
    /// How many connections there are.
    pub connections: u32,
    /// How many of them nobody uses.
    pub idle: u32,
    /// How many there are at most.
    pub max: u32,
}
