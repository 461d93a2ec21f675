//! Calls to mirrors.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tonic::body::Body;
use tonic::{Code, Status};
use tower_service::Service as _;

use super::copy::{self, RequestCopy};
use super::counts::{MirrorCounts, MirrorLimits};
use super::room::{Place, Room};
use crate::client::channel::ResponseFuture;
use crate::client::retry::{NoRetry, Unbuffered};
use crate::deadline::{self, GRPC_TIMEOUT};
use crate::outcome::{Outcome, grpc_status};
use crate::server::proxy::headers;
use crate::server::proxy::routes::{Mirror, Upstream};

/// The metadata, `true`, of a copy that a [`Proxy`](crate::server::proxy::Proxy) sends to a mirror. What a caller sends
/// under this name goes no further, and is not mirrored.
pub const MIRRORED: HeaderName = HeaderName::from_static("meshwork-mirrored");

/// How long a copy may take whose call has no deadline, and how much longer than its call.
const ALONE: Duration = Duration::from_secs(10);

/// Copies calls to mirrors.
pub struct Mirrors(Arc<Room>);

impl Mirrors {
    pub fn new(limits: MirrorLimits) -> Self {
        Self(Arc::new(Room::new(limits)))
    }

    pub fn counts(&self) -> MirrorCounts {
        self.0.counts()
    }

    /// Begins a copy of the call with this head for each of `mirrors` for which there is room.
    pub fn begin(&self, mirrors: &[Mirror], head: &Parts) -> (Vec<RequestCopy>, MirroredCalls) {
        let mut calls = MirroredCalls::default();
        if mirrors.is_empty() {
            return (Vec::new(), calls);
        }
        // A call whose deadline can't be read fails.
        let Ok(deadline) = deadline::effective(&head.headers, None, Instant::now()) else { return (Vec::new(), calls) };
        let begin = |mirror: &Mirror| {
            let place = self.0.place()?;
            let (feed, body) = copy::body();
            let mut request = request(mirror, head, Body::new(body));
            if deadline.is_none() {
                request.headers_mut().insert(&GRPC_TIMEOUT, deadline::encode_timeout(ALONE));
            }
            let upstream = mirror.upstream().clone();
            // Called here, so that it ends by the deadline of the call that this task serves.
            let answer = upstream.channel().clone().call(request);
            let (end, ended) = oneshot::channel();
            let task = tokio::spawn(follow(answer, ended, upstream, Arc::clone(&place))).abort_handle();
            calls.0.push(MirroredCall { task: task.clone(), end: Some(end) });
            Some(RequestCopy::new(feed, &place, task))
        };
        (mirrors.iter().filter_map(begin).collect(), calls)
    }
}

/// The request of a copy.
fn request(mirror: &Mirror, head: &Parts, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri.clone();
    *request.version_mut() = head.version;
    *request.headers_mut() = head.headers.clone();
    let headers = request.headers_mut();
    if !mirror.keeps_authorization() {
        headers::drop_credentials(headers);
    }
    headers.insert(MIRRORED, HeaderValue::from_static("true"));
    request.extensions_mut().insert(NoRetry);
    request.extensions_mut().insert(Unbuffered);
    request
}

/// The calls to mirrors that belong to one call. Dropped, they end, unless they were released.
#[derive(Default)]
pub struct MirroredCalls(Vec<MirroredCall>);

struct MirroredCall {
    task: AbortHandle,
    end: Option<oneshot::Sender<()>>,
}

impl MirroredCalls {
    /// The call that they belong to has ended: they may go on for a while.
    pub fn release(&mut self) {
        for end in self.0.iter_mut().filter_map(|call| call.end.take()) {
            // It may have ended first.
            let _ = end.send(());
        }
    }
}

impl Drop for MirroredCall {
    fn drop(&mut self) {
        if self.end.is_some() {
            self.task.abort();
        }
    }
}

/// How a copy ended.
enum End {
    Answered(Code),
    /// The answer is longer than is read of it.
    TooLong,
    Failed(Status),
}

/// Follows a copy to its end, for at most [`ALONE`] after that of its call.
async fn follow(answer: ResponseFuture, ended: oneshot::Receiver<()>, mirror: Upstream, place: Arc<Place>) {
    let mut answer = pin!(read(answer, place.limits().answer_bytes));
    let end = tokio::select! {
        biased;
        end = &mut answer => end,
        Ok(()) = ended => match timeout(ALONE, answer).await {
            Ok(end) => end,
            Err(_) => End::Failed(Status::deadline_exceeded("it was not answered long after the call had ended")),
        },
    };
    match end {
        End::Answered(code) if Outcome::Status(code).is_failure() => {
            place.failed(mirror.name(), code, "it was answered so");
        }
        End::Answered(_) => {}
        End::TooLong => place.cut(),
        End::Failed(status) => {
            // What was done on this side speaks against no mirror; too little time, whoever gave it, is no answer.
            if status.code() == Code::DeadlineExceeded || Outcome::of_error(&status).is_judged() {
                place.failed(mirror.name(), status.code(), status.message());
            }
        }
    }
}

/// Reads an answer to its end, or until it has more than `most` bytes. Nothing of it is kept.
async fn read(answer: ResponseFuture, most: usize) -> End {
    let response = match answer.await {
        Ok(response) => response,
        Err(status) => return End::Failed(status),
    };
    if let Some(code) = grpc_status(response.headers()) {
        return End::Answered(code);
    }
    let (mut body, mut length) = (response.into_body(), 0_usize);
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(status) => return End::Failed(status),
        };
        if let Some(trailers) = frame.trailers_ref() {
            return End::Answered(grpc_status(trailers).unwrap_or(Code::Unknown));
        }
        length = length.saturating_add(frame.data_ref().map_or(0, |data| data.len()));
        if length > most {
            return End::TooLong;
        }
    }
    End::Failed(Status::unknown("the answer ended without a status"))
}
