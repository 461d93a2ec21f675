//! The errors of this service, as callers see them.

use meshwork_chassis::errors::{self, ErrorKind};
use meshwork_chassis::events::DEAD_LETTER_NOT_FOUND;
use tonic::{Code, Status};

use crate::app::CallError;
use crate::ports::StoreError;

/// The `domain` of this service's errors.
pub const DOMAIN: &str = "notifications.meshwork.dev";

/// There is no such notification.
const NOTIFICATION_NOT_FOUND: ErrorKind = ErrorKind::new(
    "NOTIFICATION_NOT_FOUND",
    Code::NotFound,
    "There is no notification of this name. Take names from ListNotifications.",
);

/// A notification is being sent.
const NOTIFICATION_BEING_SENT: ErrorKind = ErrorKind::new(
    "NOTIFICATION_BEING_SENT",
    Code::FailedPrecondition,
    "The notification is being sent at this moment. Wait until it is SENT, FAILED or PENDING again.",
);
/// A write may have been made.
const OUTCOME_UNKNOWN: ErrorKind = ErrorKind::new(
    "OUTCOME_UNKNOWN",
    Code::Unknown,
    "The store was lost in the middle of the write. Look at the notification before you ask again.",
);

/// The errors that this service may give.
pub const TABLE: &[&ErrorKind] = &[
    &meshwork_aip::errors::INVALID_FIELDS,
    &errors::NOT_SIGNED_IN,
    &errors::BAD_TOKEN,
    &errors::KEYS_UNAVAILABLE,
    &errors::NOT_ALLOWED,
    &errors::DEPENDENCY_UNAVAILABLE,
    &errors::INTERNAL,
    &NOTIFICATION_NOT_FOUND,
    &NOTIFICATION_BEING_SENT,
    &OUTCOME_UNKNOWN,
    &DEAD_LETTER_NOT_FOUND,
];

/// The status for a call that was refused or has failed.
pub fn status(error: &CallError) -> Status {
    match error {
        CallError::NotAllowed => errors::NOT_ALLOWED.status(DOMAIN, error, &[]),
        CallError::NotFound => NOTIFICATION_NOT_FOUND.status(DOMAIN, error, &[]),
        CallError::BeingSent => NOTIFICATION_BEING_SENT.status(DOMAIN, error, &[]),
        CallError::Store(StoreError::UnknownCursor) => {
            let mut violations = meshwork_aip::Violations::new();
            violations.add("page_token", "must be a next_page_token of this list");
            violations.finish(DOMAIN).err().unwrap_or_else(|| errors::internal(DOMAIN, error))
        }
        CallError::Store(StoreError::Unavailable(cause)) => {
            tracing::warn!(cause, "the store of notifications is unavailable");
            errors::DEPENDENCY_UNAVAILABLE.status(DOMAIN, "the store of notifications is unavailable; try again", &[])
        }
        CallError::Store(StoreError::OutcomeUnknown(cause)) => {
            tracing::warn!(cause, "the outcome of a write is unknown");
            OUTCOME_UNKNOWN.status(DOMAIN, "the store was lost in the middle of the write; it may have been made", &[])
        }
        CallError::Store(cause @ StoreError::Damaged(_)) => errors::internal(DOMAIN, cause),
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;

    use super::*;

    #[test]
    fn a_store_that_is_busy_is_tried_again_and_a_damaged_one_is_not() {
        let refused = |error: meshwork_sql::Error| status(&CallError::Store(error.into()));
        for busy in [meshwork_sql::Error::NotWritten, sqlx::Error::PoolTimedOut.into()] {
            let status = refused(busy);
            assert_eq!(status.code(), Code::Unavailable);
            let details = status.get_error_details();
            assert_eq!(details.error_info().unwrap().reason, "DEPENDENCY_UNAVAILABLE");
            assert!(details.retry_info().is_some());
        }
        let unknown = refused(meshwork_sql::Error::OutcomeUnknown("lost".to_owned()));
        assert!(unknown.code() == Code::Unknown && unknown.get_details_retry_info().is_none());
        let damaged = refused(sqlx::Error::Decode("no number".into()).into());
        assert_eq!(damaged.code(), Code::Internal);
    }

    #[test]
    fn the_table_has_no_faults() {
        assert_eq!(errors::faults(TABLE), Vec::<String>::new());
    }
}
