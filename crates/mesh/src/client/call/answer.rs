//! What the transport gave, as gRPC knows it.

use std::sync::Arc;

use http::Response;
use http_body::Body as _;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::guard::Guard;
use crate::client::retry::{AttemptError, Expiry};
use crate::outcome::{CallerFault, Outcome, grpc_status};
use crate::transport::{ExchangeError, Fate, ReceiveBody, TransportError, status_of_response};

/// The body of an attempt's response, by how far the response has come with its headers.
pub(crate) enum AttemptBody {
    /// It began. The guard is held on the endpoint until it ends.
    Began(ReceiveBody, Guard),
    /// It ended with this code (Trailers-Only). The body is that of a server which did not end the stream with it; of others
    /// nothing is held, since a failure may be kept while another attempt is waited for.
    Ended(Code, Option<ReceiveBody>),
}

/// What an attempt that was sent came to.
pub(super) struct Answer {
    pub(super) result: Result<Response<AttemptBody>, AttemptError>,
    /// The code of a response that ended with its headers.
    pub(super) ended: Option<Code>,
    /// The endpoint; none while the response goes on, whose guard has its name.
    pub(super) endpoint: Option<Arc<str>>,
}

impl Answer {
    /// Of an attempt whose end was reported to its endpoint already.
    pub(super) fn failed(error: AttemptError, guard: &Guard) -> Self {
        Self { result: Err(error), ended: None, endpoint: Some(Arc::clone(guard.endpoint())) }
    }
}

/// Judges what came of an exchange at `now`; what ended is reported to the endpoint by `guard`.
pub(super) fn answer(
    exchanged: Result<Response<ReceiveBody>, ExchangeError>,
    mut guard: Guard,
    deadline: Option<Instant>,
    now: Instant,
) -> Answer {
    let error = match exchanged {
        Ok(response) => return response_of(response, guard, now),
        Err(ExchangeError::Transport(error)) => failure_of(error, &mut guard, deadline, now),
        Err(ExchangeError::Body(mut status)) => {
            status.set_source(Arc::new(CallerFault));
            guard.finish(now, Outcome::of_error(&status));
            AttemptError::last(status)
        }
    };
    Answer::failed(error, &guard)
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
            return Answer::failed(AttemptError { status, fate: Fate::Sent, last }, &guard);
        }
        guard.headers(now);
        let body = AttemptBody::Began(body, guard);
        return Answer { result: Ok(Response::from_parts(head, body)), ended: None, endpoint: None };
    };
    let outcome = guard.outcome(code, now);
    guard.finish(now, outcome);
    if outcome == Outcome::Caller(code) && guard.is_withheld() {
        // It would have to wait for its caller again.
        let status = Status::from_header_map(&head.headers);
        let status = status.unwrap_or_else(|| Status::new(code, "the request did not come in time"));
        return Answer::failed(AttemptError::last(status), &guard);
    }
    let body = AttemptBody::Ended(code, (!body.is_end_stream()).then_some(body));
    let endpoint = Some(Arc::clone(guard.endpoint()));
    Answer { result: Ok(Response::from_parts(head, body)), ended: Some(code), endpoint }
}

fn failure_of(error: TransportError, guard: &mut Guard, deadline: Option<Instant>, now: Instant) -> AttemptError {
    if is_late(&error, deadline, now) {
        let outcome = guard.outcome(Code::DeadlineExceeded, now);
        guard.finish(now, outcome);
        return Expiry::Deadline.into();
    }
    let fate = error.fate();
    let status = error.into_status();
    let outcome = Outcome::of_error(&status);
    let last = matches!(outcome, Outcome::Caller(_));
    guard.status(status.code());
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
