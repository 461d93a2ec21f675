//! The errors of this service, as callers see them.

use std::time::Duration;

use meshwork_chassis::cache::CACHE_DISABLED;
use meshwork_chassis::errors::{COMMON, DEPENDENCY_UNAVAILABLE, ETAG_MISMATCH, ErrorKind, REQUEST_ID_REUSED, internal};
use meshwork_chassis::etag;
use meshwork_chassis::events::{DEAD_LETTER_NOT_FOUND, STREAM_NOT_FOUND};
use tonic::{Code, Status};

use crate::app::AppError;
use crate::domain::UserError;
use crate::ports::{HashError, StoreError};

/// The domain of this service's errors.
pub const DOMAIN: &str = "users.meshwork.dev";

/// A role that only staff may give.
pub const ROLE_NOT_ALLOWED: ErrorKind = ErrorKind::new(
    "ROLE_NOT_ALLOWED",
    Code::PermissionDenied,
    "Anybody may create customers; accounts of other roles are created by staff.",
);
/// An account has the address.
pub const EMAIL_TAKEN: ErrorKind = ErrorKind::new(
    "EMAIL_TAKEN",
    Code::AlreadyExists,
    "An account has this e-mail address. The address of a deleted account stays taken.",
);
/// An account has the id.
pub const USER_ID_TAKEN: ErrorKind = ErrorKind::new(
    "USER_ID_TAKEN",
    Code::AlreadyExists,
    "An account has this user_id; choose another or leave it out. The id of a deleted account stays taken.",
);
/// There is no such account.
pub const USER_NOT_FOUND: ErrorKind = ErrorKind::new(
    "USER_NOT_FOUND",
    Code::NotFound,
    "There is no such account, or it is deleted and the caller is neither staff nor a service.",
);
/// The account is deleted.
pub const USER_DELETED: ErrorKind = ErrorKind::new(
    "USER_DELETED",
    Code::FailedPrecondition,
    "The account is deleted: it can neither be changed nor be deleted once more.",
);
/// The address or the password is wrong.
pub const BAD_CREDENTIALS: ErrorKind = ErrorKind::new(
    "BAD_CREDENTIALS",
    Code::Unauthenticated,
    "No living account has this e-mail address and password. Which of them is wrong is not told.",
);
/// The refresh token is not good.
pub const SESSION_ENDED: ErrorKind = ErrorKind::new(
    "SESSION_ENDED",
    Code::Unauthenticated,
    "The refresh token is unknown, used or too old, or its session has ended. Sign in again.",
);
/// Too many passwords are being hashed.
pub const PASSWORDS_BUSY: ErrorKind = ErrorKind::retryable(
    "PASSWORDS_BUSY",
    Code::ResourceExhausted,
    Duration::from_secs(1),
    "More passwords are being checked than the service has time for. Nothing was written. Try again later.",
);
/// Somebody has tried too often.
pub const TOO_MANY_ATTEMPTS: ErrorKind = ErrorKind::retryable(
    "TOO_MANY_ATTEMPTS",
    Code::ResourceExhausted,
    Duration::from_secs(10),
    "Too many sign-ins or sign-ups came from the caller's address, or too many wrong passwords for the account. Nothing was \
     looked up. RetryInfo says when the next is admitted.",
);

/// The store was lost in the middle of a write that may safely be asked for again.
pub const OUTCOME_UNKNOWN: ErrorKind = ErrorKind::retryable(
    "OUTCOME_UNKNOWN",
    Code::Unavailable,
    Duration::from_millis(500),
    "The store was lost in the middle of the write, which may have been made. Send the same request again, with its \
     request_id or etag: it is not made twice.",
);

/// All errors of this service.
pub const TABLE: &[&ErrorKind] = &{
    let own = [
        &ROLE_NOT_ALLOWED,
        &EMAIL_TAKEN,
        &USER_ID_TAKEN,
        &USER_NOT_FOUND,
        &USER_DELETED,
        &BAD_CREDENTIALS,
        &SESSION_ENDED,
        &PASSWORDS_BUSY,
        &TOO_MANY_ATTEMPTS,
        &OUTCOME_UNKNOWN,
        &STREAM_NOT_FOUND,
        &DEAD_LETTER_NOT_FOUND,
        &CACHE_DISABLED,
    ];
    let mut table = [&ROLE_NOT_ALLOWED; 13 + COMMON.len()];
    let mut at = 0;
    while at < table.len() {
        table[at] = if at < own.len() { own[at] } else { COMMON[at - own.len()] };
        at += 1;
    }
    table
};

/// The error of a write, as its caller sees it. `is_repeatable` says that the same request, made again, does nothing twice: it has
/// a request id, or names the version that it changes.
pub(super) fn status_of_write(error: AppError, is_repeatable: bool) -> Status {
    if !is_repeatable || !matches!(&error, AppError::Store(StoreError::OutcomeUnknown(_))) {
        return status(error);
    }
    tracing::warn!(%error, "the outcome of a write is unknown");
    let sentence = "whether it was done is unknown; send the same request again, with its request_id or etag";
    OUTCOME_UNKNOWN.status(DOMAIN, sentence, &[])
}

/// The error of a use case, as its caller sees it.
pub(super) fn status(error: AppError) -> Status {
    match &error {
        AppError::NotFound(name) => USER_NOT_FOUND.status(DOMAIN, &error, &[("resource", &name.to_string())]),
        AppError::EmailTaken => EMAIL_TAKEN.status(DOMAIN, &error, &[]),
        AppError::IdTaken(name) => USER_ID_TAKEN.status(DOMAIN, &error, &[("resource", &name.to_string())]),
        AppError::RequestReused => REQUEST_ID_REUSED.status(DOMAIN, &error, &[]),
        AppError::Refused(UserError::Deleted(name)) => {
            USER_DELETED.status(DOMAIN, &error, &[("resource", &name.to_string())])
        }
        AppError::Refused(UserError::VersionMismatch { name, expected, actual }) => {
            let (name, expected, actual) = (name.to_string(), etag::format(*expected), etag::format(*actual));
            ETAG_MISMATCH.status(
                DOMAIN,
                format!("{name} has the etag {actual}, not {expected}; read it again"),
                &[("resource", &name), ("expected", &expected), ("actual", &actual)],
            )
        }
        AppError::Conflict(name) => ETAG_MISMATCH.status(DOMAIN, &error, &[("resource", &name.to_string())]),
        AppError::BadCredentials => BAD_CREDENTIALS.status(DOMAIN, &error, &[]),
        AppError::SessionEnded => SESSION_ENDED.status(DOMAIN, &error, &[]),
        AppError::TooManyAttempts(too_many) => {
            let wait = too_many.retry_after.as_millis().to_string();
            let kind = ErrorKind { retry_after: Some(too_many.retry_after), ..TOO_MANY_ATTEMPTS };
            kind.status(DOMAIN, &error, &[("wait_ms", &wait)])
        }
        AppError::Hash(HashError::Busy) => PASSWORDS_BUSY.status(DOMAIN, &error, &[]),
        AppError::Store(StoreError::Unavailable(_) | StoreError::Misplaced(_)) => {
            tracing::warn!(%error, "a call could not be carried out");
            let sentence = "the accounts can't be reached at this moment, and nothing was changed; try again";
            DEPENDENCY_UNAVAILABLE.status(DOMAIN, sentence, &[])
        }
        AppError::Hash(HashError::Failed(_)) | AppError::Sign(_) | AppError::Store(_) | AppError::Credentials(_) => {
            internal(DOMAIN, &error)
        }
    }
}

#[cfg(test)]
mod tests {
    use meshwork_chassis::errors::faults;
    use tonic_types::StatusExt;

    use super::*;
    use crate::ports::TooManyAttempts;

    #[test]
    fn the_table_has_no_faults() {
        assert_eq!(faults(TABLE), Vec::<String>::new());
        assert_eq!(TABLE.len(), 13 + COMMON.len());
    }

    #[test]
    fn causes_inside_are_not_told() {
        let place = || "disk I/O error in /secret/place".to_owned();
        for error in [StoreError::Damaged(place()), StoreError::OutcomeUnknown(place())] {
            let status = status(AppError::Store(error));
            assert_eq!(status.code(), Code::Internal);
            let info = status.get_details_error_info().unwrap();
            assert!(info.metadata.contains_key("trace_id"), "{info:?}");
            assert!(status.get_details_retry_info().is_none());
            assert!(!format!("{status:?}").contains("secret"), "{status:?}");
        }
    }

    #[test]
    fn e8_who_can_be_told_apart_may_ask_again_when_the_outcome_is_unknown() {
        let lost = || AppError::Store(StoreError::OutcomeUnknown("db.secret.example is lost".to_owned()));
        let safe = status_of_write(lost(), true);
        assert_eq!(safe.code(), Code::Unavailable);
        assert_eq!(safe.get_details_error_info().unwrap().reason, "OUTCOME_UNKNOWN");
        assert!(safe.get_details_retry_info().unwrap().retry_delay.is_some());
        assert!(!format!("{safe:?}").contains("secret"), "{safe:?}");
        assert_eq!(status_of_write(lost(), false).code(), Code::Internal);
        assert_eq!(status_of_write(AppError::EmailTaken, true).code(), Code::AlreadyExists);
    }

    #[test]
    fn e8_what_can_not_be_reached_may_be_tried_again() {
        let place = || "db.secret.example is away".to_owned();
        for error in [StoreError::Unavailable(place()), StoreError::Misplaced(place())] {
            let status = status(AppError::Store(error));
            assert_eq!(status.code(), Code::Unavailable);
            assert_eq!(status.get_details_error_info().unwrap().reason, "DEPENDENCY_UNAVAILABLE");
            assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
            assert!(!format!("{status:?}").contains("secret"), "{status:?}");
        }
    }

    #[test]
    fn who_was_forestalled_is_told_to_read_again() {
        let status = status(AppError::Conflict("users/anna".parse().unwrap()));
        assert_eq!(status.code(), Code::Aborted);
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.metadata["resource"].as_str()), ("ETAG_MISMATCH", "users/anna"));
    }

    #[test]
    fn who_tries_too_often_is_told_when_the_next_is_admitted() {
        let retry_after = Duration::from_millis(4_321);
        let status = status(AppError::TooManyAttempts(TooManyAttempts { retry_after }));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(retry_after));
        assert_eq!(status.get_details_error_info().unwrap().metadata["wait_ms"], "4321");
    }

    #[test]
    fn who_comes_too_soon_is_told_when_to_come_back() {
        let status = status(AppError::Hash(HashError::Busy));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(1)));
    }
}
