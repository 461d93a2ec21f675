//! What the use cases need of the world.

use std::time::Duration;

use crate::domain::Client;

/// Counts the calls of clients. It has a clock.
pub trait CallLimits: Send + Sync + 'static {
    /// Takes one call from what the client may make.
    ///
    /// # Errors
    /// When nothing is left: how long it takes until the next call is admitted. Nothing was taken.
    fn take(&self, client: &Client) -> Result<(), Duration>;
}
