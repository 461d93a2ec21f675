//! Attempts over any gRPC service.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http_body::Body;
use tonic::Status;
use tonic::codegen::StdError;
use tower_service::Service;

use super::attempt::{AttemptContext, AttemptError, Attempted, Attempts};
use super::clock::AttemptClock;
use super::request_body::RequestBody;
use crate::client::trace::AttemptTrace;
use crate::outcome::Outcome;
use crate::transport::TransportError;

/// Makes attempts with a service: the first with the instance that is ready, each other with a clone that is made ready.
#[derive(Debug)]
pub struct ServiceAttempts<S> {
    service: S,
    ready: bool,
}

impl<S> ServiceAttempts<S> {
    /// `service` must have been ready, and not called since.
    pub fn ready(service: S) -> Self {
        Self { service, ready: true }
    }
}

impl<S: Clone> Clone for ServiceAttempts<S> {
    fn clone(&self) -> Self {
        Self { service: self.service.clone(), ready: false }
    }
}

impl<S, B> Attempts for ServiceAttempts<S>
where
    S: Service<http::Request<tonic::body::Body>, Response = http::Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<StdError> + Send,
    B: Body<Data = Bytes> + Send + 'static,
{
    type ResponseBody = B;
    type Future = BoxFuture<'static, Attempted<B>>;

    fn attempt(&mut self, request: http::Request<RequestBody>, context: AttemptContext) -> Self::Future {
        let clone = self.service.clone();
        let mut service = std::mem::replace(&mut self.service, clone);
        let ready = std::mem::replace(&mut self.ready, false);
        let request = request.map(tonic::body::Body::from);
        async move {
            let started = context.now;
            let call = async move {
                if !ready {
                    poll_fn(|cx| service.poll_ready(cx)).await?;
                }
                service.call(request).await
            };
            let result = within(&context, call).await;
            let code = result.as_ref().err().map(|error| error.status.code());
            Attempted::new(result, AttemptTrace { took: started.elapsed(), code, ..AttemptTrace::default() })
        }
        .boxed()
    }
}

/// Ends `call` by the timeout of the attempt and the deadline of the call.
async fn within<T, E: Into<StdError>>(
    context: &AttemptContext,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, AttemptError> {
    let mut call = pin!(call);
    let mut clock = pin!(AttemptClock::new(context));
    // What becomes of the request below isn't seen from here: its time counts from the beginning.
    let result = poll_fn(|cx| match call.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(Ok(result)),
        Poll::Pending => clock.as_mut().poll(cx, Some(context.now)).map(Err),
    })
    .await?;
    result.map_err(|error| {
        let error: StdError = error.into();
        let fate = TransportError::fate_in(&*error);
        let status = Status::from_error(error);
        let last = matches!(Outcome::of_error(&status), Outcome::Caller(_));
        AttemptError { status, fate, last }
    })
}
