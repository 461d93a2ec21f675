//! How the connections of a server end, whatever they do.

use tokio_util::sync::CancellationToken;

/// The steps to the end of all connections.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Ends {
    /// GOAWAY, and then no more calls.
    pub goaway: CancellationToken,
    /// The calls that still go on end with UNAVAILABLE.
    pub ending: CancellationToken,
    /// The end, calls or not.
    pub cut: CancellationToken,
}

impl Ends {
    /// All steps at once.
    pub(super) fn cancel(&self) {
        self.goaway.cancel();
        self.ending.cancel();
        self.cut.cancel();
    }
}
