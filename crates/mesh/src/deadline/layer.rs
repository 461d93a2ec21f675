//! Deadlines of outgoing calls, as a tower layer over any gRPC service.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::time::Instant;
use tonic::codegen::StdError;
use tower_layer::Layer;
use tower_service::Service;

use super::effective::effective;
use super::future::DeadlineFuture;
use super::timeout::{GRPC_TIMEOUT, encode_timeout};
use crate::bodies::{DeadlineBody, Exceeded, ExpiryStatus as _};

/// Ends calls at their deadline with DEADLINE_EXCEEDED, wherever they are: before the answer, or in the middle of its
/// stream. The inner call is cancelled then. The inner service sees in `grpc-timeout` what is left.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeadlineLayer {
    timeout: Option<Duration>,
}

impl DeadlineLayer {
    /// Calls take at most `timeout`, if there is one; less if their own `grpc-timeout`, or the deadline of the call that the
    /// task serves, says so.
    pub fn new(timeout: Option<Duration>) -> Self {
        Self { timeout }
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = DeadlineService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DeadlineService { inner, timeout: self.timeout }
    }
}

/// The service of [`DeadlineLayer`].
#[derive(Clone, Debug)]
pub struct DeadlineService<S> {
    inner: S,
    timeout: Option<Duration>,
}

impl<S, A, B> Service<Request<A>> for DeadlineService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Body<Data = Bytes>,
    B::Error: Into<StdError>,
{
    type Response = Response<DeadlineBody<B>>;
    type Error = S::Error;
    type Future = DeadlineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let now = Instant::now();
        let deadline = match effective(request.headers(), self.timeout, now) {
            Ok(deadline) => deadline,
            Err(status) => return DeadlineFuture::refused(status),
        };
        if let Some(at) = deadline {
            let left = at.saturating_duration_since(now);
            if left.is_zero() {
                return DeadlineFuture::refused(Exceeded.status("before it was sent"));
            }
            request.headers_mut().insert(&GRPC_TIMEOUT, encode_timeout(left));
        }
        DeadlineFuture::new(self.inner.call(request), deadline, Exceeded)
    }
}
