//! How calls are refused.

use std::fmt::Debug;

use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

pub const DOMAIN: &str = "orders.meshwork.dev";

/// The status of a call that must have been refused.
#[track_caller]
pub fn refused<T: Debug>(result: Result<Response<T>, Status>) -> Status {
    match result {
        Ok(response) => panic!("the call was not refused: {:?}", response.into_inner()),
        Err(status) => status,
    }
}

/// The code and the reason; every refusal names its reason and its domain (AIP-193).
#[track_caller]
pub fn reason(status: &Status) -> (Code, String) {
    let details = status.get_error_details();
    let Some(info) = details.error_info() else { panic!("no ErrorInfo: {status:?}") };
    assert_eq!(info.domain, DOMAIN, "{status:?}");
    (status.code(), info.reason.clone())
}

/// The code and the reason of a call that must have been refused.
#[track_caller]
pub fn reason_of<T: Debug>(result: Result<Response<T>, Status>) -> (Code, String) {
    reason(&refused(result))
}

/// A code with a reason, to compare with.
pub fn because(code: Code, reason: &str) -> (Code, String) {
    (code, reason.to_owned())
}

/// The fields that a call was refused for, in order.
#[track_caller]
pub fn bad_fields<T: Debug>(result: Result<Response<T>, Status>) -> Vec<String> {
    let status = refused(result);
    assert_eq!(reason(&status), because(Code::InvalidArgument, "INVALID_FIELDS"), "{status:?}");
    let details = status.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    assert!(violations.iter().all(|violation| !violation.description.is_empty()), "{violations:?}");
    violations.iter().map(|violation| violation.field.clone()).collect()
}
