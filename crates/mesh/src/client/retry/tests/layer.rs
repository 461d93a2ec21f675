use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::{Ready, ready};
use http_body_util::{BodyExt as _, Full};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer as _, Service, ServiceExt as _};

use super::support::*;
use crate::client::retry::{NoRetry, RetryLayer};

/// Fails the first two calls; panics when it is called without having been ready.
struct Strict {
    ready: bool,
    calls: Arc<AtomicUsize>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false, calls: self.calls.clone() }
    }
}

impl Service<http::Request<Body>> for Strict {
    type Response = http::Response<Full<Bytes>>;
    type Error = Status;
    type Future = Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "not ready");
        let mut response = http::Response::new(Full::default());
        if self.calls.fetch_add(1, Ordering::SeqCst) < 2 {
            return ready(Err(Status::unavailable("not now")));
        }
        response.headers_mut().insert("grpc-status", 0.into());
        ready(Ok(response))
    }
}

#[tokio::test(start_paused = true)]
async fn trap_1_the_layer_calls_the_instance_that_is_ready() {
    let calls = Arc::new(AtomicUsize::new(0));
    let tokens = throttle(10);
    let layer = RetryLayer::new(policy(5)).throttle(tokens.clone());
    let mut service = layer.layer(Strict { ready: false, calls: calls.clone() });
    let response = service.ready().await.unwrap().call(http::Request::new(Body::empty())).await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    assert_eq!(tokens.milli_tokens(), 8100, "two failures, one success");
    response.into_body().collect().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_to_be_retried_is_made_once() {
    let calls = Arc::new(AtomicUsize::new(0));
    let mut service = RetryLayer::new(policy(5)).layer(Strict { ready: false, calls: calls.clone() });
    let mut request = http::Request::new(Body::empty());
    request.extensions_mut().insert(NoRetry);
    let status = service.ready().await.unwrap().call(request).await.unwrap_err();
    assert_eq!((status.code(), calls.load(Ordering::SeqCst)), (Code::Unavailable, 1));
}
