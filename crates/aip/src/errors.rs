//! The errors of these checks as rows of a table of errors, each an [`ErrorKind`] of the mesh.

pub use meshwork::errors::{ErrorKind, faults};
use tonic::Code;

use crate::violations;

/// A field of the request is wrong: what [`Violations::finish`](crate::Violations::finish) answers with.
pub const INVALID_FIELDS: ErrorKind = ErrorKind::new(
    violations::REASON,
    Code::InvalidArgument,
    "Fields of the request are wrong; BadRequest names each and says what would be right. Nothing was written.",
);
/// The request id came with another body before.
pub const REQUEST_ID_REUSED: ErrorKind = ErrorKind::new(
    "REQUEST_ID_REUSED",
    Code::InvalidArgument,
    "The request_id came with another body before. Send a new request_id, or the first body again.",
);
/// The resource has changed since the caller read it.
pub const ETAG_MISMATCH: ErrorKind = ErrorKind::new(
    "ETAG_MISMATCH",
    Code::Aborted,
    "The resource has changed since it was read. Read it again and decide anew.",
);

/// All of them.
pub const TABLE: &[&ErrorKind] = &[&INVALID_FIELDS, &REQUEST_ID_REUSED, &ETAG_MISMATCH];
