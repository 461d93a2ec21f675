//! How often a client may change its settings.

use std::io;
use std::time::Duration;

use tokio::time::Instant;

/// How many SETTINGS a client may send at once, and in which time one more. Clients that follow the bandwidth change their
/// windows a few times; `h2` goes over all streams of the connection for each change, and does nothing else meanwhile.
const BURST: u32 = 100;
const EVERY: Duration = Duration::from_millis(100);

/// Counts the SETTINGS of a connection.
pub(super) struct SettingsLimit {
    left: u32,
    /// When `left` was last brought up to date.
    at: Instant,
}

impl SettingsLimit {
    pub(super) fn new() -> Self {
        Self { left: BURST, at: Instant::now() }
    }

    /// So many more have come.
    ///
    /// # Errors
    /// When these are too many.
    pub(super) fn count(&mut self, settings: u32) -> io::Result<()> {
        if settings == 0 {
            return Ok(());
        }
        let regained = u32::try_from(self.at.elapsed().as_millis() / EVERY.as_millis()).unwrap_or(BURST);
        if regained > 0 {
            self.left = self.left.saturating_add(regained).min(BURST);
            self.at = Instant::now();
        }
        match self.left.checked_sub(settings) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(io::Error::other("the client changes its settings without end")),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_one_after_each_while() {
        let mut limit = SettingsLimit::new();
        limit.count(BURST).unwrap();
        limit.count(1).unwrap_err();
        advance(EVERY * 3).await;
        limit.count(3).unwrap();
        limit.count(1).unwrap_err();
        advance(EVERY * 1000).await;
        limit.count(BURST).unwrap();
        limit.count(1).unwrap_err();
    }
}
