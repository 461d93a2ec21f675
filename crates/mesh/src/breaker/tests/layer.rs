//! Tests of the layer: what it judges by, and how it rejects.

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tonic::body::Body;
use tonic::codegen::StdError;
use tonic::{Code, Status};
use tower_layer::Layer as _;
use tower_service::Service as _;

use super::*;
use crate::breaker::CircuitBreakerLayer;
use crate::outcome::grpc_status;

fn status(code: Code) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", (code as i32).into());
    headers
}

/// How often it takes `answer` to open the breaker of three failures, if it does.
async fn opens_after<F>(answer: F) -> Option<usize>
where
    F: Fn() -> Result<Response<Body>, StdError> + Clone,
{
    let layer = CircuitBreakerLayer::new(CircuitBreaker { consecutive_failures: Some(3), ..policy() });
    let mut service = layer.layer(tower::service_fn(move |_: Request<()>| std::future::ready(answer())));
    for calls in 1..=5 {
        if let Ok(response) = service.call(Request::new(())).await {
            let _ = response.into_body().collect().await;
        }
        if layer.breaker().state(Instant::now()) == Circuit::Open {
            let rejected = service.call(Request::new(())).await.unwrap();
            assert_eq!(grpc_status(rejected.headers()), Some(Code::Unavailable));
            return Some(calls);
        }
    }
    None
}

fn trailers_only(code: Code) -> Result<Response<Body>, StdError> {
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = status(code);
    Ok(response)
}

fn trailers(code: Code) -> Result<Response<Body>, StdError> {
    let frames = [Ok::<_, Status>(Frame::data(Bytes::from_static(b"x"))), Ok(Frame::trailers(status(code)))];
    Ok(Response::new(Body::new(StreamBody::new(futures_util::stream::iter(frames)))))
}

#[tokio::test(start_paused = true)]
async fn trap_3_trailers_only_responses_are_judged_by_their_headers() {
    assert_eq!(opens_after(|| trailers_only(Code::Unavailable)).await, Some(3));
    assert_eq!(opens_after(|| trailers_only(Code::NotFound)).await, None);
}

#[tokio::test(start_paused = true)]
async fn trap_2_responses_are_judged_by_their_trailers() {
    assert_eq!(opens_after(|| trailers(Code::Internal)).await, Some(3));
    assert_eq!(opens_after(|| trailers(Code::Ok)).await, None);
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_inner_service_are_judged_by_their_status() {
    assert_eq!(opens_after(|| Err(Status::data_loss("lost").into())).await, Some(3));
    assert_eq!(opens_after(|| Err("no status".into())).await, Some(3));
    assert_eq!(opens_after(|| Err(Status::cancelled("by the server").into())).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_body_dropped_midway_judges_nothing() {
    let layer = CircuitBreakerLayer::new(CircuitBreaker { consecutive_failures: Some(1), ..policy() });
    let mut service = layer.layer(tower::service_fn(|_: Request<()>| std::future::ready(trailers(Code::Internal))));
    drop(service.call(Request::new(())).await.unwrap());
    assert_eq!(layer.breaker().state(Instant::now()), Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_whose_response_is_a_stream_keeps_no_others_from_probing() {
    let breaker = Breaker::new(CircuitBreaker { probes: 1, ..policy() });
    (0..20).for_each(|_| breaker.record(Instant::now(), BAD));
    breaker.half_open();
    let layer = CircuitBreakerLayer::with_breaker(breaker.clone());
    let mut service = layer.layer(tower::service_fn(|_: Request<()>| std::future::ready(trailers(Code::Ok))));
    let first = service.call(Request::new(())).await.unwrap();
    let second = service.call(Request::new(())).await.unwrap();
    assert_eq!((grpc_status(first.headers()), grpc_status(second.headers())), (None, None));
    assert_eq!(breaker.state(Instant::now()), Circuit::HalfOpen);
    first.into_body().collect().await.unwrap();
    assert_eq!(breaker.state(Instant::now()), Circuit::Closed, "it is judged at its end");
}
