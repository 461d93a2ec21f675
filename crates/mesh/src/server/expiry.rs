//! The statuses of calls whose deadline passed, or isn't one, or whose caller has expired.

use bytes::Bytes;
use http_body::Frame;
use tonic::Status;

use super::Domain;
use super::body::trailers;
use crate::deadline::{ExpiryStatus, InvalidTimeout};
use crate::errors::port::{CREDENTIALS_EXPIRED, DEADLINE_EXCEEDED, INVALID_TIMEOUT};

/// The status of a call whose `grpc-timeout` isn't what gRPC allows.
pub(in crate::server) fn invalid_timeout(domain: Domain, error: &InvalidTimeout) -> Status {
    INVALID_TIMEOUT.status(domain, error, &[("header", "grpc-timeout")])
}

/// The status of a call whose principal has expired; `when` says how far it had come.
pub(in crate::server) fn credentials_expired(domain: Domain, when: &str) -> Status {
    let message = format!("the credentials of the call expired {when}; refresh the session and call again");
    CREDENTIALS_EXPIRED.status(domain, message, &[])
}

/// Ends calls with DEADLINE_EXCEEDED and the details of this domain, streams in their trailers: on a server an error of the body
/// would reset the stream, and the client would never see the status.
impl ExpiryStatus for Domain {
    fn status(self, when: &str) -> Status {
        let message = format!("the deadline of the call passed {when}");
        DEADLINE_EXCEEDED.status(self, message, &[])
    }

    fn last(self, status: Status) -> Result<Frame<Bytes>, Status> {
        Ok(trailers(&status))
    }
}
