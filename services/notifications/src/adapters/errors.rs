//! The errors of this service, as callers see them.

use meshwork_chassis::errors::store::{self, Kind, StoreFailure};
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

/// The errors that this service may give.
pub const TABLE: &[&ErrorKind] = &[
    &meshwork_aip::errors::INVALID_FIELDS,
    &errors::NOT_SIGNED_IN,
    &errors::BAD_TOKEN,
    &errors::KEYS_UNAVAILABLE,
    &errors::NOT_ALLOWED,
    &errors::DEPENDENCY_UNAVAILABLE,
    &errors::OUTCOME_UNKNOWN,
    &errors::WRITE_UNCONFIRMED,
    &errors::STORE_CONTENDED,
    &errors::STORE_DAMAGED,
    &errors::INTERNAL,
    &NOTIFICATION_NOT_FOUND,
    &NOTIFICATION_BEING_SENT,
    &DEAD_LETTER_NOT_FOUND,
];

impl StoreFailure for StoreError {
    fn failure(&self) -> Option<Kind> {
        match self {
            StoreError::Unavailable(_) => Some(Kind::Unavailable),
            StoreError::Conflict(_) => Some(Kind::Conflict),
            StoreError::OutcomeUnknown(_) => Some(Kind::OutcomeUnknown),
            StoreError::Damaged(_) => Some(Kind::Damaged),
            StoreError::UnknownCursor => None,
        }
    }
}

/// The status for a call that was refused or has failed. The one write of this service, a letter that is sent once more, isn't
/// known when it is asked for again.
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
        CallError::Store(error) => store::status(DOMAIN, error, false, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e8_a_store_that_fails_is_answered_by_the_table_of_all_services() {
        let answer = |kind, cause: String, is_repeatable: bool| {
            let error: StoreError = match kind {
                Kind::Unavailable => meshwork_sql::Error::NoConnection(cause).into(),
                Kind::OutcomeUnknown if is_repeatable => return None,
                Kind::OutcomeUnknown => meshwork_sql::Error::OutcomeUnknown(cause).into(),
                Kind::Conflict => {
                    let source = sqlx::Error::Configuration(cause.into());
                    meshwork_sql::Error::Locked { component: "notifications", source }.into()
                }
                Kind::Damaged => sqlx::Error::Decode(cause.into()).into(),
            };
            Some(status(&CallError::Store(error)))
        };
        assert_eq!(store::faults(answer), Vec::<String>::new());
    }

    #[test]
    fn the_table_has_no_faults() {
        assert_eq!(errors::faults(TABLE), Vec::<String>::new());
    }
}
