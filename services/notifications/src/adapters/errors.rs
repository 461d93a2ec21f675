//! The errors of this service, as callers see them.

use meshwork_chassis::errors::{self, ErrorKind};
use tonic::{Code, Status};

use crate::app::QueryError;
use crate::ports::StoreError;

/// The `domain` of this service's errors.
pub const DOMAIN: &str = "notifications.meshwork.dev";

/// There is no such notification.
const NOTIFICATION_NOT_FOUND: ErrorKind = ErrorKind::new(
    "NOTIFICATION_NOT_FOUND",
    Code::NotFound,
    "There is no notification of this name. Take names from ListNotifications.",
);

/// The errors that this service may give.
pub const TABLE: &[&ErrorKind] = &[
    &errors::INVALID_FIELDS,
    &errors::NOT_SIGNED_IN,
    &errors::BAD_TOKEN,
    &errors::KEYS_UNAVAILABLE,
    &errors::NOT_ALLOWED,
    &errors::DEPENDENCY_UNAVAILABLE,
    &errors::INTERNAL,
    &NOTIFICATION_NOT_FOUND,
];

/// The status for a query that has no answer.
pub fn status(error: &QueryError) -> Status {
    match error {
        QueryError::NotAllowed => errors::NOT_ALLOWED.status(DOMAIN, error, &[]),
        QueryError::NotFound => NOTIFICATION_NOT_FOUND.status(DOMAIN, error, &[]),
        QueryError::Store(StoreError::UnknownCursor) => {
            let mut violations = meshwork_chassis::validate::Violations::new();
            violations.add("page_token", "must be a next_page_token of this list");
            violations.finish(DOMAIN).err().unwrap_or_else(|| errors::internal(DOMAIN, error))
        }
        QueryError::Store(StoreError::Unavailable(cause)) => {
            tracing::warn!(cause, "the store of notifications is unavailable");
            errors::DEPENDENCY_UNAVAILABLE.status(DOMAIN, "the store of notifications is unavailable; try again", &[])
        }
        QueryError::Store(cause @ StoreError::Damaged(_)) => errors::internal(DOMAIN, cause),
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;

    use super::*;

    #[test]
    fn a_store_that_is_busy_is_tried_again_and_a_damaged_one_is_not() {
        let refused = |error: meshwork_sql::Error| status(&QueryError::Store(error.into()));
        for busy in [meshwork_sql::Error::NotWritten, sqlx::Error::PoolTimedOut.into()] {
            let status = refused(busy);
            assert_eq!(status.code(), Code::Unavailable);
            let details = status.get_error_details();
            assert_eq!(details.error_info().unwrap().reason, "DEPENDENCY_UNAVAILABLE");
            assert!(details.retry_info().is_some());
        }
        let damaged = refused(sqlx::Error::Decode("no number".into()).into());
        assert_eq!(damaged.code(), Code::Internal);
    }

    #[test]
    fn the_table_has_no_faults() {
        assert_eq!(errors::faults(TABLE), Vec::<String>::new());
    }
}
