//! The events that services ask each other for, those that they could not handle, and what is told of all of them.

mod audit;
mod dead_letters;
mod source_client;
mod source_grpc;

pub use audit::{AuditGrpc, StockReader};
pub use dead_letters::DeadLetterGrpc;
pub use source_client::GrpcEventSources;
pub use source_grpc::EventSourceGrpc;

use std::time::Duration;

use tonic::Code;

use crate::errors::ErrorKind;

/// There is no such dead letter.
pub const DEAD_LETTER_NOT_FOUND: ErrorKind = ErrorKind::new(
    "DEAD_LETTER_NOT_FOUND",
    Code::NotFound,
    "There is no such dead letter: its event was handled or given up, or it is another service's. ListDeadLetters names them.",
);
/// The source has nothing of the aggregate.
pub const STREAM_NOT_FOUND: ErrorKind =
    ErrorKind::new("STREAM_NOT_FOUND", Code::NotFound, "The source has no events of this aggregate, or none any more.");

/// The errors of the methods that a service with parked events has.
pub const DEAD_LETTER_ERRORS: &[&ErrorKind] = &[&DEAD_LETTER_NOT_FOUND];
/// The errors of the methods that a service with events has.
pub const EVENT_SOURCE_ERRORS: &[&ErrorKind] = &[&STREAM_NOT_FOUND];

/// The most bytes of an aggregate's name.
const MAX_SUBJECT: usize = 200;
/// How long a call works on parked events before it answers with what it has done: less than a call's deadline.
const WORK: Duration = Duration::from_secs(8);
