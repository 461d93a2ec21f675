//! What the transport gave, as gRPC knows it.

use std::sync::Arc;

use http::Response;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::guard::Guard;
use crate::client::retry::{AttemptError, Expiry};
use crate::outcome::{CallerFault, Outcome, grpc_status};
use crate::transport::{ExchangeError, Fate, ReceiveBody, TransportError, status_of_response};

/// The body of an attempt's response, and how far the response has come.
pub(crate) struct AttemptBody {
    pub(super) body: ReceiveBody,
    pub(super) state: ResponseState,
}

/// How far the response of an attempt has come with its headers.
pub(super) enum ResponseState {
    /// It began. The guard is held on the endpoint until it ends.
    Began(Guard),
    /// It ended with this code (Trailers-Only).
    Ended(Code),
}

/// What an attempt came to: its response, or why there is none, and the code of a response that ended with its headers.
pub(super) type Answer = (Result<Response<AttemptBody>, AttemptError>, Option<Code>);

/// Judges what came of an exchange at `now`; what ended is reported to the endpoint by `guard`.
pub(super) fn answer(
    exchanged: Result<Response<ReceiveBody>, ExchangeError>,
    guard: Guard,
    deadline: Option<Instant>,
    now: Instant,
) -> Answer {
    match exchanged {
        Ok(response) => response_of(response, guard, now),
        Err(ExchangeError::Transport(error)) => (Err(failure_of(error, guard, deadline, now)), None),
        Err(ExchangeError::Body(mut status)) => {
            status.set_source(Arc::new(CallerFault));
            guard.finish(now, Outcome::of_error(&status));
            (Err(AttemptError::last(status)), None)
        }
    }
}

fn response_of(response: Response<ReceiveBody>, mut guard: Guard, now: Instant) -> Answer {
    let (head, body) = response.into_parts();
    let Some(code) = grpc_status(&head.headers) else {
        if let Some(mut status) = status_of_response(&head) {
            // 4xx blames the request; what is worth another try is no client error here (429 is UNAVAILABLE).
            if head.status.is_client_error() && status.code() != Code::Unavailable {
                status.set_source(Arc::new(CallerFault));
            }
            let outcome = Outcome::of_error(&status);
            guard.finish(now, outcome);
            let last = matches!(outcome, Outcome::Caller(_));
            return (Err(AttemptError { status, fate: Fate::Sent, last }), None);
        }
        guard.headers(now);
        return (Ok(Response::from_parts(head, AttemptBody { body, state: ResponseState::Began(guard) })), None);
    };
    let (outcome, withheld) = (guard.outcome(code, now), guard.is_withheld());
    guard.finish(now, outcome);
    if outcome == Outcome::Caller(code) && withheld {
        // It would have to wait for its caller again.
        let status = Status::from_header_map(&head.headers);
        let status = status.unwrap_or_else(|| Status::new(code, "the request did not come in time"));
        return (Err(AttemptError::last(status)), None);
    }
    (Ok(Response::from_parts(head, AttemptBody { body, state: ResponseState::Ended(code) })), Some(code))
}

fn failure_of(error: TransportError, guard: Guard, deadline: Option<Instant>, now: Instant) -> AttemptError {
    if is_late(&error, deadline, now) {
        let outcome = guard.outcome(Code::DeadlineExceeded, now);
        guard.finish(now, outcome);
        return Expiry::Deadline.into();
    }
    let fate = error.fate();
    let status = error.into_status();
    let outcome = Outcome::of_error(&status);
    let last = matches!(outcome, Outcome::Caller(_));
    match fate {
        Fate::NotSent if !last => guard.unsent(now),
        Fate::Refused if !last => guard.refused(now),
        _ => guard.finish(now, outcome),
    }
    AttemptError { status, fate, last }
}

/// Whether a stream that the server cancelled was over by its deadline: servers keep it too, and some end a call so whose time
/// is up (RST_STREAM with CANCEL, which gRPC's PROTOCOL-HTTP2 maps to DEADLINE_EXCEEDED then).
pub(super) fn is_late(error: &TransportError, deadline: Option<Instant>, now: Instant) -> bool {
    error.code() == Code::Cancelled && !error.is_local() && deadline.is_some_and(|deadline| deadline <= now)
}
