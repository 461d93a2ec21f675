//! Why a transaction is undone, and what callers make of it.

use meshwork_sql::shards::Misplaced;
use meshwork_sql::{Error, Kind, WorkError};

use super::outcome::Creating;
use crate::ports::StoreError;

/// Why a transaction is undone. What is done in one returns this, and no [`StoreError`], which doesn't tell conflicts apart.
#[derive(Debug)]
pub(super) enum Undo {
    /// The store has failed.
    Store(StoreError),
    /// Another transaction was in the way: the work may be done again at once.
    Conflict(String),
    /// Nothing is to be written: this has become of a creation.
    Creating(Box<Creating>),
    /// Nothing is to be written: the account has the claim that was to be made void.
    Claimed,
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
            // The map is another, which no other server of this database would change.
            Undo::Store(StoreError::Misplaced(_)) | Undo::Creating(_) | Undo::Claimed => None,
        }
    }
}

impl From<Undo> for StoreError {
    fn from(undo: Undo) -> Self {
        match undo {
            Undo::Store(error) => error,
            // It was tried again, and another was in the way each time.
            Undo::Conflict(what) => StoreError::Conflict(what),
            undo => StoreError::damaged(format_args!("{undo:?} is no answer to this")),
        }
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let what = error.to_string();
        if error.is_misplaced() {
            return StoreError::Misplaced(what);
        }
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

impl Misplaced for StoreError {
    fn is_misplaced(&self) -> bool {
        matches!(self, StoreError::Misplaced(_))
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
            StoreError::Misplaced(what) => panic!("{what}"),
        };
        assert_eq!(kind(sqlx::Error::PoolTimedOut.into()), Kind::Unavailable);
        assert_eq!(kind(Error::NotWritten.into()), Kind::Unavailable);
        assert_eq!(kind(Error::Panicked.into()), Kind::Damaged);
        assert_eq!(kind(sqlx::Error::ColumnNotFound("n".to_owned()).into()), Kind::Damaged);
        assert_eq!(kind(Error::OutcomeUnknown("the disk is gone".to_owned()).into()), Kind::OutcomeUnknown);
        // What is left over after the tries.
        assert_eq!(kind(Undo::conflict("users/anna").into()), Kind::Conflict);
    }

    #[test]
    fn what_is_not_here_is_looked_for_elsewhere_and_is_no_conflict() {
        for error in [Error::StaleMap("slot 7".to_owned()), Error::Moving("slot 7".to_owned())] {
            let undo = Undo::from(error);
            assert!(!undo.is_conflict(), "{undo:?}");
            assert!(StoreError::from(undo).is_misplaced());
        }
        assert!(!StoreError::from(Error::NotWritten).is_misplaced());
    }
}
