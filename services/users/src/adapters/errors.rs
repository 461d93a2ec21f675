//! The errors of this service, as callers see them.

use std::time::Duration;

use meshwork_aip::errors::{ETAG_MISMATCH, REQUEST_ID_REUSED};
use meshwork_aip::{Violations, etag};
use meshwork_chassis::cache::CACHE_DISABLED;
use meshwork_chassis::errors::store::{self, Kind, StoreFailure};
use meshwork_chassis::errors::{COMMON, ErrorKind, KEYS_UNAVAILABLE, internal};
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
/// There is no such session that the caller might end.
pub const SESSION_NOT_FOUND: ErrorKind = ErrorKind::new(
    "SESSION_NOT_FOUND",
    Code::NotFound,
    "The caller has no such session: it is another account's, and may not even exist.",
);
/// There is no such key that the caller might see.
pub const API_KEY_NOT_FOUND: ErrorKind = ErrorKind::new(
    "API_KEY_NOT_FOUND",
    Code::NotFound,
    "The caller has no such API key: it is another account's, ended long ago, or never was.",
);
/// The account has a key with the id.
pub const API_KEY_ID_TAKEN: ErrorKind = ErrorKind::new(
    "API_KEY_ID_TAKEN",
    Code::AlreadyExists,
    "The account has a key with this api_key_id, perhaps one that has ended; choose another or leave it out. The secret of a key \
     isn't told a second time.",
);
/// The account has as many keys as it may.
pub const TOO_MANY_API_KEYS: ErrorKind = ErrorKind::new(
    "TOO_MANY_API_KEYS",
    Code::FailedPrecondition,
    "As many keys of the account live as may. Revoke one first.",
);
/// A key or a token gives no access token.
pub const TOKEN_NOT_EXCHANGED: ErrorKind = ErrorKind::new(
    "TOKEN_NOT_EXCHANGED",
    Code::Unauthenticated,
    "The API key or the token is unknown, revoked or expired, or its account is deleted or may have no keys. Which of these \
     is not told.",
);
/// What programs with keys may not do.
pub const NOT_FOR_KEYS: ErrorKind = ErrorKind::new(
    "NOT_FOR_KEYS",
    Code::PermissionDenied,
    "The caller has an API key. A key changes no credentials, ends no account and no session, and makes no keys; sign in to do that.",
);
/// The current password is another.
pub const WRONG_PASSWORD: ErrorKind = ErrorKind::new(
    "WRONG_PASSWORD",
    Code::PermissionDenied,
    "The current_password is not the account's password. Nothing was written.",
);
/// The account has no password, and gets no API keys either.
pub const NO_PASSWORD: ErrorKind = ErrorKind::new(
    "NO_PASSWORD",
    Code::FailedPrecondition,
    "The account is of somebody who signs in with another issuer: it is given no e-mail address, no password and no \
     API keys, by which they would go on when that issuer lets them go.",
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
    "Too many sign-ins, wrong keys or sign-ups came from the caller's address, or too many wrong passwords for the account. Nothing was \
     looked up. RetryInfo says when the next is admitted.",
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
        &SESSION_NOT_FOUND,
        &API_KEY_NOT_FOUND,
        &API_KEY_ID_TAKEN,
        &TOO_MANY_API_KEYS,
        &TOKEN_NOT_EXCHANGED,
        &NOT_FOR_KEYS,
        &WRONG_PASSWORD,
        &NO_PASSWORD,
        &PASSWORDS_BUSY,
        &TOO_MANY_ATTEMPTS,
        &STREAM_NOT_FOUND,
        &DEAD_LETTER_NOT_FOUND,
        &CACHE_DISABLED,
    ];
    let mut table = [&ROLE_NOT_ALLOWED; 20 + COMMON.len()];
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
    match error {
        AppError::Store(error) => store::status(DOMAIN, &error, is_repeatable, &[]),
        error => status(error),
    }
}

impl StoreFailure for StoreError {
    fn failure(&self) -> Option<Kind> {
        Some(match self {
            StoreError::Unavailable(_) | StoreError::Misplaced(_) => Kind::Unavailable,
            StoreError::Conflict(_) => Kind::Conflict,
            StoreError::OutcomeUnknown(_) => Kind::OutcomeUnknown,
            StoreError::Damaged(_) => Kind::Damaged,
        })
    }
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
        AppError::Refused(UserError::NoPassword(name)) => {
            NO_PASSWORD.status(DOMAIN, &error, &[("resource", &name.to_string())])
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
        AppError::PasswordRequired => {
            let mut violations = Violations::new();
            violations.add("current_password", "is required for a new e-mail address or password of one's own");
            match violations.finish(DOMAIN) {
                Err(status) => status,
                Ok(()) => internal(DOMAIN, &error),
            }
        }
        AppError::WrongPassword(name) => WRONG_PASSWORD.status(DOMAIN, &error, &[("resource", &name.to_string())]),
        AppError::SessionEnded => SESSION_ENDED.status(DOMAIN, &error, &[]),
        AppError::ApiKeyNotFound(name) => API_KEY_NOT_FOUND.status(DOMAIN, &error, &[("resource", &name.to_string())]),
        AppError::ApiKeyIdTaken(name) => API_KEY_ID_TAKEN.status(DOMAIN, &error, &[("resource", &name.to_string())]),
        AppError::TooManyApiKeys(name) => TOO_MANY_API_KEYS.status(DOMAIN, &error, &[("resource", &name.to_string())]),
        AppError::TokenNotExchanged => TOKEN_NOT_EXCHANGED.status(DOMAIN, &error, &[]),
        AppError::ForeignKeysUnavailable => KEYS_UNAVAILABLE.status(DOMAIN, &error, &[]),
        AppError::TooManyAttempts(too_many) => {
            let wait = too_many.retry_after.as_millis().to_string();
            let kind = ErrorKind { retry_after: Some(too_many.retry_after), ..TOO_MANY_ATTEMPTS };
            kind.status(DOMAIN, &error, &[("wait_ms", &wait)])
        }
        AppError::Hash(HashError::Busy) => PASSWORDS_BUSY.status(DOMAIN, &error, &[]),
        AppError::Store(error) => store::status(DOMAIN, error, false, &[]),
        AppError::Hash(HashError::Failed(_)) | AppError::Sign(_) | AppError::Credentials(_) => internal(DOMAIN, &error),
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
        assert_eq!(TABLE.len(), 20 + COMMON.len());
    }

    #[test]
    fn e8_a_store_that_fails_is_answered_by_the_table_of_all_services() {
        let answer = |kind, cause: String, is_repeatable| {
            let error = match kind {
                Kind::Unavailable => StoreError::Unavailable(cause),
                Kind::OutcomeUnknown => StoreError::OutcomeUnknown(cause),
                Kind::Conflict => StoreError::Conflict(cause),
                Kind::Damaged => StoreError::Damaged(cause),
            };
            Some(status_of_write(AppError::Store(error), is_repeatable))
        };
        assert_eq!(store::faults(answer), Vec::<String>::new());
        let read = |kind, cause: String, is_repeatable: bool| match kind {
            Kind::Unavailable => Some(status(AppError::Store(StoreError::Misplaced(cause)))),
            Kind::Damaged => Some(status(AppError::Store(StoreError::Damaged(cause)))),
            Kind::OutcomeUnknown if !is_repeatable => Some(status(AppError::Store(StoreError::OutcomeUnknown(cause)))),
            Kind::Conflict | Kind::OutcomeUnknown => None,
        };
        assert_eq!(store::faults(read), Vec::<String>::new());
        assert_eq!(status_of_write(AppError::EmailTaken, true).code(), Code::AlreadyExists);
    }

    #[test]
    fn causes_inside_are_not_told() {
        let status = status(AppError::Hash(HashError::Failed("no memory in /secret/place".to_owned())));
        assert_eq!(status.code(), Code::Internal);
        assert!(status.get_details_error_info().unwrap().metadata.contains_key("trace_id"), "{status:?}");
        assert!(!format!("{status:?}").contains("secret"), "{status:?}");
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
