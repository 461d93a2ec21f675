//! How stores fail.

use std::fmt::Display;

/// A store has not done what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The store can't be reached at this moment. Nothing was changed; another try may succeed.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What was asked for is kept elsewhere by now, or is being moved there. Nothing was changed; another try may succeed.
    #[error("what was asked for is being moved: {0}")]
    Misplaced(String),
    /// Others were in the way at each of several tries. Nothing was changed; another try may succeed.
    #[error("others were in the way at each of several tries: {0}")]
    Conflict(String),
    /// The store broke off while it kept the change, which may have been kept. Another try is safe where it is known as
    /// the same, by its request id or its version.
    #[error("whether the change was kept is unknown: {0}")]
    OutcomeUnknown(String),
    /// The store holds something that can't be, or can't carry out what it must. Another try fails as well.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

impl StoreError {
    /// The store holds something that can't be.
    pub fn damaged(what: impl Display) -> Self {
        StoreError::Damaged(what.to_string())
    }

    /// Whether it is certain that nothing was changed, nor will be by what has failed.
    pub fn is_without_effect(&self) -> bool {
        matches!(self, StoreError::Unavailable(_) | StoreError::Misplaced(_) | StoreError::Conflict(_))
    }
}
