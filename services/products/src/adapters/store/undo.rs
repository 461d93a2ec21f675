//! What goes wrong in a transaction, and what callers make of it.

use meshwork_sql::{Error, Kind, WorkError};

use crate::domain::Refusal;
use crate::ports::{Applied, StoreError};

/// Why a transaction is undone. What is done in one returns this, and no [`StoreError`], which doesn't tell conflicts apart.
#[derive(Debug)]
pub(super) enum Undo {
    /// The store has failed, or a rule forbids it.
    Store(StoreError),
    /// Another transaction was in the way: the work may be done again at once.
    Conflict(String),
    /// Nothing is to be written: this is the answer.
    Answer(Applied),
}

impl Undo {
    /// Something has changed between two statements.
    pub fn conflict(what: impl std::fmt::Display) -> Self {
        Undo::Conflict(format!("{what} has changed under the writer"))
    }
}

impl From<Error> for Undo {
    fn from(error: Error) -> Self {
        if error.is_conflict() { Undo::Conflict(error.to_string()) } else { Undo::Store(error.into()) }
    }
}

impl From<sqlx::Error> for Undo {
    fn from(error: sqlx::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<StoreError> for Undo {
    fn from(error: StoreError) -> Self {
        Undo::Store(error)
    }
}

impl From<Refusal> for Undo {
    fn from(refusal: Refusal) -> Self {
        Undo::Store(refusal.into())
    }
}

impl WorkError for Undo {
    fn is_conflict(&self) -> bool {
        matches!(self, Undo::Conflict(_))
    }

    fn kind(&self) -> Option<Kind> {
        match self {
            Undo::Conflict(_) => Some(Kind::Conflict),
            Undo::Store(StoreError::Conflict(_)) => Some(Kind::Conflict),
            Undo::Store(StoreError::Unavailable(_)) => Some(Kind::Unavailable),
            Undo::Store(StoreError::OutcomeUnknown(_)) => Some(Kind::OutcomeUnknown),
            Undo::Store(StoreError::Damaged(_)) => Some(Kind::Damaged),
            // Refusals and answers are no failures of the store.
            Undo::Store(_) | Undo::Answer(_) => None,
        }
    }
}

impl From<Undo> for StoreError {
    fn from(undo: Undo) -> Self {
        match undo {
            Undo::Store(error) => error,
            // It was tried again, and another was in the way each time.
            Undo::Conflict(what) => StoreError::Conflict(what),
            Undo::Answer(answer) => super::damaged(format_args!("{answer:?} is no answer to this")),
        }
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let what = error.to_string();
        match error.kind() {
            Kind::Unavailable => StoreError::Unavailable(what),
            // It was tried again, and another was in the way each time.
            Kind::Conflict => StoreError::Conflict(what),
            Kind::OutcomeUnknown => StoreError::OutcomeUnknown(what),
            Kind::Damaged => StoreError::Damaged(what),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Error::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_of_the_store_has_its_kind() {
        let kind = |error: StoreError| match error {
            StoreError::Unavailable(_) => Kind::Unavailable,
            StoreError::Conflict(_) => Kind::Conflict,
            StoreError::OutcomeUnknown(_) => Kind::OutcomeUnknown,
            StoreError::Damaged(_) => Kind::Damaged,
            other => panic!("{other}"),
        };
        assert_eq!(kind(sqlx::Error::PoolTimedOut.into()), Kind::Unavailable);
        assert_eq!(kind(Error::NotWritten.into()), Kind::Unavailable);
        assert_eq!(kind(Error::Panicked.into()), Kind::Damaged);
        assert_eq!(kind(sqlx::Error::ColumnNotFound("n".to_owned()).into()), Kind::Damaged);
        assert_eq!(kind(Error::OutcomeUnknown("the disk is gone".to_owned()).into()), Kind::OutcomeUnknown);
        // What is left over after the tries.
        assert_eq!(kind(Undo::conflict("products/lamp").into()), Kind::Conflict);
    }

    #[test]
    fn what_a_replica_has_failed_at_is_told_apart_from_what_was_refused() {
        assert_eq!(Undo::from(sqlx::Error::PoolTimedOut).kind(), Some(Kind::Unavailable));
        assert_eq!(Undo::conflict("products/lamp").kind(), Some(Kind::Conflict));
        assert_eq!(Undo::from(Error::Panicked).kind(), Some(Kind::Damaged));
        assert_eq!(Undo::from(Error::OutcomeUnknown(String::new())).kind(), Some(Kind::OutcomeUnknown));
        assert_eq!(Undo::from(StoreError::BadCursor).kind(), None);
        assert_eq!(Undo::Answer(Applied::Before).kind(), None);
    }

    #[test]
    fn only_conflicts_are_done_again() {
        assert!(Undo::conflict("products/lamp").is_conflict());
        for undo in [Undo::from(Error::NotWritten), Undo::Answer(Applied::Parked)] {
            assert!(!undo.is_conflict(), "{undo:?}");
        }
    }
}
