//! A request that is not answered with its method's message.

use http::{HeaderMap, StatusCode};
use tonic::Status;

use super::super::call::{Failure, http_status};
use super::fault::Fault;

/// Why, as the caller is told.
#[derive(Debug)]
pub(super) struct Refusal {
    /// What the answer has as its status, by rule that of the code.
    pub(super) code: StatusCode,
    pub(super) status: Status,
    /// Of a call that failed, what it was answered with.
    pub(super) metadata: HeaderMap,
}

impl Refusal {
    /// With another status of HTTP than the code's.
    pub(super) fn with(code: StatusCode, status: Status) -> Self {
        Self { code, status, metadata: HeaderMap::new() }
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::with(http_status(status.code()), status)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Status::from(fault).into()
    }
}

impl From<Failure> for Refusal {
    fn from(Failure { status, metadata }: Failure) -> Self {
        Self { metadata, ..status.into() }
    }
}
