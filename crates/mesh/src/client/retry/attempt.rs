//! One attempt of a call: what retries and hedging repeat, and what carries it out.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::request_body::RequestBody;
use crate::client::trace::AttemptTrace;
use crate::outcome::grpc_status;
use crate::transport::{Fate, code_of_http};

/// What an attempt needs beside its request.
#[derive(Clone, Debug)]
pub struct AttemptContext {
    /// When the attempt begins, by a clock that was just read.
    pub now: Instant,
    /// When the whole call is over. The attempt ends by then with DEADLINE_EXCEEDED, and tells the server what is left.
    pub deadline: Option<Instant>,
    /// How long the server may take until it answers by headers, from when the request had been sent; the attempt ends then
    /// as UNAVAILABLE, against its endpoint. While the caller has not given all of the request, the time stands still.
    pub timeout: Option<Duration>,
    /// Whether the attempt waits while no endpoint can take it.
    pub wait_for_ready: bool,
    /// Set before the attempt is dropped because another was answered first: that it was slower says something of its server.
    /// Any other attempt that is dropped was given up by the caller, which does not.
    pub outrun: Option<Arc<AtomicBool>>,
}

/// What an attempt came to, and how it came to it.
#[derive(Debug)]
pub struct Attempted<B> {
    /// The response, Trailers-Only ones among them; or why there is none.
    pub result: Result<http::Response<B>, AttemptError>,
    /// The code of a response that ended with its headers: a Trailers-Only response, or what a proxy answered in place of
    /// gRPC.
    pub ended: Option<Code>,
    /// Endpoint, picks and waits.
    pub trace: AttemptTrace,
}

impl<B> Attempted<B> {
    /// What came of an attempt; how its response ended is looked up in its headers.
    pub fn new(result: Result<http::Response<B>, AttemptError>, trace: AttemptTrace) -> Self {
        let ended = result.as_ref().ok().and_then(|response| {
            let no_grpc = || (response.status() != StatusCode::OK).then(|| code_of_http(response.status()));
            grpc_status(response.headers()).or_else(no_grpc)
        });
        Self { result, ended, trace }
    }

    /// The code that it failed with; none for one that was answered.
    pub(super) fn failed_with(&self) -> Option<Code> {
        match &self.result {
            Ok(_) => self.ended.filter(|code| *code != Code::Ok),
            Err(error) => Some(error.status.code()),
        }
    }
}

/// Why an attempt has no response.
#[derive(Debug)]
pub struct AttemptError {
    /// What the caller gets unless another attempt follows.
    pub status: Status,
    /// How far the request had come.
    pub fate: Fate,
    /// Whether retries are out of the question, whatever the policy: a drop by a limit (gRFC A32), or the deadline.
    pub last: bool,
}

impl AttemptError {
    /// No answer that a retry by the policy could not make good.
    pub(crate) fn unavailable(message: &str) -> Self {
        Self { status: Status::unavailable(message), fate: Fate::Sent, last: false }
    }

    /// A failure that no attempt may follow.
    pub(crate) fn last(status: Status) -> Self {
        Self { status, fate: Fate::Sent, last: true }
    }
}

/// Carries out attempts: the channel's pick and send, or any gRPC service under a layer.
pub trait Attempts: Clone + Send {
    /// The body of its responses.
    type ResponseBody: Send + 'static;
    /// The future of one attempt; dropped, the attempt is cancelled.
    type Future: Future<Output = Attempted<Self::ResponseBody>> + Send;

    /// Begins an attempt.
    fn attempt(&mut self, request: http::Request<RequestBody>, context: AttemptContext) -> Self::Future;
}
