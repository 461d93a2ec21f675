//! Failures of stores, as callers of every service see them: one table for SQL databases, MongoDB and the event store.
//!
//! | what it means | code | reason | to be tried again |
//! |---|---|---|---|
//! | [`Kind::Unavailable`] | UNAVAILABLE | [`DEPENDENCY_UNAVAILABLE`] | yes |
//! | [`Kind::OutcomeUnknown`], of a request that does nothing twice | UNAVAILABLE | [`OUTCOME_UNKNOWN`] | yes |
//! | [`Kind::OutcomeUnknown`], of any other | UNKNOWN | [`WRITE_UNCONFIRMED`] | no |
//! | [`Kind::Conflict`] | ABORTED | [`STORE_CONTENDED`] | yes |
//! | [`Kind::Damaged`] | DATA_LOSS | [`STORE_DAMAGED`] | no |

use std::fmt::Display;

use meshwork::errors::ErrorKind;
pub use meshwork_sql::Kind;
use tonic::Status;
use tonic_types::StatusExt as _;
use uuid::Uuid;

use super::{DEPENDENCY_UNAVAILABLE, OUTCOME_UNKNOWN, STORE_CONTENDED, STORE_DAMAGED, WRITE_UNCONFIRMED, internal};

/// What a store answers with that has not done what it was asked for. It prints its cause, for the log alone.
pub trait StoreFailure: Display {
    /// What the failure means; `None` where the store works and has refused, which is for the service to answer.
    fn failure(&self) -> Option<Kind>;
}

impl StoreFailure for meshwork_sql::Error {
    fn failure(&self) -> Option<Kind> {
        Some(self.kind())
    }
}

/// The status for a failure of a store, by the errors of `domain`. `is_repeatable` says that the same request, made again, does
/// nothing twice: it has a request id, or names the version that it changes. `about` names what was asked for, in ErrorInfo.
///
/// A refusal that the service has not answered itself is a defect, and told as [`INTERNAL`](super::INTERNAL).
pub fn status(domain: &str, error: &impl StoreFailure, is_repeatable: bool, about: &[(&str, &str)]) -> Status {
    match error.failure() {
        Some(kind) => status_of(domain, kind, error, is_repeatable, about),
        None => internal(domain, error),
    }
}

/// The status for a failure of this kind, as [`status`] gives it. The cause goes to the log, under an id that the caller gets
/// too.
pub fn status_of(domain: &str, kind: Kind, cause: &dyn Display, is_repeatable: bool, about: &[(&str, &str)]) -> Status {
    let trace_id = Uuid::new_v4().to_string();
    let (row, sentence) = row(kind, is_repeatable);
    if kind == Kind::Damaged {
        tracing::error!(trace_id, domain, reason = row.reason, cause = %cause, "a store holds what can't be understood");
    } else {
        tracing::warn!(trace_id, domain, reason = row.reason, cause = %cause, "a store hasn't done what it was asked for");
    }
    let metadata: Vec<_> = about.iter().copied().chain([("trace_id", trace_id.as_str())]).collect();
    row.status(domain, sentence, &metadata)
}

/// The row of the table, and what a caller is told.
fn row(kind: Kind, is_repeatable: bool) -> (ErrorKind, &'static str) {
    match kind {
        Kind::Unavailable => (
            DEPENDENCY_UNAVAILABLE,
            "a store of the service can't be reached at this moment, and nothing was changed; try again",
        ),
        Kind::OutcomeUnknown if is_repeatable => (
            OUTCOME_UNKNOWN,
            "whether it was done is unknown; send the same request again, with its request_id or etag",
        ),
        Kind::OutcomeUnknown => {
            (WRITE_UNCONFIRMED, "whether it was done is unknown; look at it before you ask for it again")
        }
        Kind::Conflict => {
            (STORE_CONTENDED, "others were in the way at each of several tries, and nothing was changed; try again")
        }
        Kind::Damaged => (STORE_DAMAGED, "what is stored can't be understood; the log tells more under the trace_id"),
    }
}

/// What is wrong with how a service answers the failures of a store; each service's own test calls it. `answer` gives the status
/// for a failure of this kind and cause, of a call that is repeatable or not, and `None` for one that the service hasn't.
pub fn faults(answer: impl Fn(Kind, String, bool) -> Option<Status>) -> Vec<String> {
    const CAUSE: &str = "store.secret.example";
    let mut faults = Vec::new();
    for kind in [Kind::Unavailable, Kind::OutcomeUnknown, Kind::Conflict, Kind::Damaged] {
        for is_repeatable in [false, true] {
            let Some(status) = answer(kind, CAUSE.to_owned(), is_repeatable) else { continue };
            let info = status.get_details_error_info();
            let reason = info.as_ref().map_or("", |info| info.reason.as_str());
            let retry = status.get_details_retry_info().and_then(|retry| retry.retry_delay);
            let (row, _) = row(kind, is_repeatable);
            if (status.code(), reason, retry) != (row.code, row.reason, row.retry_after) {
                let right = row.reason;
                faults.push(format!("{kind:?}, repeatable {is_repeatable}, is to be {right}, and is {status:?}"));
            }
            let is_traced = info.as_ref().is_some_and(|info| info.metadata.contains_key("trace_id"));
            if !is_traced {
                faults.push(format!("the log can't be searched for {kind:?}: there is no trace_id in {status:?}"));
            }
            if format!("{status:?}").contains(CAUSE) {
                faults.push(format!("{kind:?} tells the caller its cause: {status:?}"));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use tonic::Code;

    use super::*;

    struct Failure(Option<Kind>, String);

    impl Display for Failure {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&self.1)
        }
    }

    impl StoreFailure for Failure {
        fn failure(&self) -> Option<Kind> {
            self.0
        }
    }

    #[test]
    fn e8_each_failure_has_its_row_and_keeps_its_cause() {
        let answer = |kind, cause, is_repeatable| {
            Some(status("tests.meshwork.dev", &Failure(Some(kind), cause), is_repeatable, &[("order", "orders/a")]))
        };
        assert_eq!(faults(answer), Vec::<String>::new());
        let status = status("tests.meshwork.dev", &meshwork_sql::Error::NotWritten, false, &[("order", "orders/a")]);
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.get_details_error_info().unwrap().metadata["order"], "orders/a");
    }

    #[test]
    fn e8_a_service_that_answers_otherwise_is_found_out() {
        let planted = |kind: Kind, cause: String, _: bool| Some(Status::unavailable(format!("{kind:?}: {cause}")));
        // Another reason, no trace and a cause that is told: of each kind, and of each call.
        assert_eq!(faults(planted).len(), 3 * 8);
        assert_eq!(faults(|_, _, _| None), Vec::<String>::new());
    }

    #[test]
    fn a_refusal_that_nobody_has_answered_is_a_defect() {
        let refused = status("tests.meshwork.dev", &Failure(None, "refused".to_owned()), true, &[]);
        assert_eq!(refused.code(), Code::Internal);
    }
}
