//! Why a service can't start, or has to stop.

use std::fmt::Display;

use meshwork::server::BackgroundError;
use meshwork::server::auth::InvalidOption;

/// A service can't start, or has to stop: one sentence for people, and what they can do.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub struct ServeError {
    /// What went wrong.
    pub sentence: String,
    /// What to do.
    pub hint: String,
    passing: bool,
}

impl ServeError {
    /// An error for people.
    pub fn new(sentence: impl Display, hint: impl Into<String>) -> Self {
        Self { sentence: sentence.to_string(), hint: hint.into(), passing: false }
    }

    /// Notes whether it may pass without anybody changing a setting, as when a server isn't there yet.
    #[must_use]
    pub fn passing(self, passing: bool) -> Self {
        Self { passing, ..self }
    }

    /// Whether it may pass, so that the same may be tried again.
    pub fn may_pass(&self) -> bool {
        self.passing
    }
}

impl From<BackgroundError> for ServeError {
    fn from(error: BackgroundError) -> Self {
        Self::new(error, "look into the log for the cause")
    }
}

impl From<InvalidOption> for ServeError {
    fn from(error: InvalidOption) -> Self {
        Self::new(
            format!("the contracts don't say whom their methods admit: {error}"),
            "this program is damaged; install it again",
        )
    }
}
