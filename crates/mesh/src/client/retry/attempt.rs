//! One attempt of a call: what retries and hedging repeat, and what carries it out.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use tokio::time::Instant;
use tonic::Status;

use super::request_body::RequestBody;
use crate::client::trace::AttemptTrace;
use crate::transport::Fate;

/// What an attempt is told beside its request.
#[derive(Clone, Debug, Default)]
pub struct AttemptContext {
    /// The number of the attempt, from 1; transparent retries keep the number of the attempt that they repeat.
    pub number: u32,
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
    /// Endpoint, picks and waits.
    pub trace: AttemptTrace,
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

/// Carries out attempts: the channel's pick and send, or any gRPC service under a layer.
pub trait Attempts: Clone + Send {
    /// The body of its responses.
    type ResponseBody: Body<Data = Bytes> + Send + 'static;
    /// The future of one attempt; dropped, the attempt is cancelled.
    type Future: Future<Output = Attempted<Self::ResponseBody>> + Send;

    /// Begins an attempt.
    fn attempt(&mut self, request: http::Request<RequestBody>, context: AttemptContext) -> Self::Future;
}
