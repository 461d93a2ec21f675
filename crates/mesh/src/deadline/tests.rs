//! Tests of deadlines.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use proptest::prelude::*;
use tokio::time::Instant;
use tonic::Code;
use tower_layer::Layer as _;
use tower_service::Service as _;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn parse(text: &str) -> Option<Duration> {
    parse_timeout(&http::HeaderValue::from_str(text).unwrap()).ok()
}

#[test]
fn a_timeout_is_one_to_eight_digits_and_a_unit() {
    let good = [
        ("1n", Duration::from_nanos(1)),
        ("2u", Duration::from_micros(2)),
        ("3m", Duration::from_millis(3)),
        ("4S", 4 * SECOND),
        ("5M", 300 * SECOND),
        ("6H", 21_600 * SECOND),
        ("00000000n", Duration::ZERO),
        ("99999999H", Duration::from_secs(3_600 * 99_999_999)),
    ];
    for (text, timeout) in good {
        assert_eq!(parse(text), Some(timeout), "{text}");
    }
    for text in ["", "S", "1", "123456789S", "-1S", "+1S", "1.5S", "1 S", "1s", "1h", "1SS", " 1S"] {
        assert_eq!(parse(text), None, "{text}");
    }
}

#[test]
fn a_timeout_is_written_in_the_finest_unit_that_fits() {
    let text = |timeout| encode_timeout(timeout).to_str().unwrap().to_owned();
    assert_eq!(text(Duration::ZERO), "0n");
    assert_eq!(text(Duration::from_nanos(99_999_999)), "99999999n");
    assert_eq!(text(Duration::from_nanos(100_000_999)), "100000u");
    assert_eq!(text(SECOND), "1000000u");
    assert_eq!(text(Duration::MAX), "99999999H");
}

proptest! {
    #[test]
    fn a_written_timeout_is_read_again_never_longer_never_zero(seconds in 0_u64..=1 << 40, nanos in 0_u32..1_000_000_000) {
        for timeout in [Duration::new(seconds, nanos), Duration::new(seconds % 128, nanos), Duration::new(0, nanos)] {
            let read = parse_timeout(&encode_timeout(timeout)).unwrap();
            prop_assert!(read <= timeout && read.is_zero() == timeout.is_zero());
            // Cut off is less than one of a hundred thousand.
            if timeout < Duration::from_secs(3_600 * 99_999_999) {
                prop_assert!((timeout - read).as_secs_f64() <= timeout.as_secs_f64() / 100_000.0);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_earliest_of_header_policy_and_incoming_call_holds() {
    let now = Instant::now();
    let mut headers = HeaderMap::new();
    assert_eq!(effective(&headers, None, now).unwrap(), None);
    assert_eq!(effective(&headers, Some(SECOND), now).unwrap(), Some(now + SECOND));
    headers.insert(&GRPC_TIMEOUT, encode_timeout(SECOND / 2));
    assert_eq!(effective(&headers, Some(SECOND), now).unwrap(), Some(now + SECOND / 2));
    let at = now + SECOND / 4;
    let inside = scope(at, async { (effective(&headers, Some(SECOND), now).unwrap(), current()) }).await;
    assert_eq!(inside, (Some(at), Some(at)));
    assert_eq!(scope(at, scope(now + SECOND, async { current() })).await, Some(at));
    assert_eq!(current(), None);
    headers.insert(&GRPC_TIMEOUT, "soon".parse().unwrap());
    assert_eq!(effective(&headers, None, now).unwrap_err().code(), Code::Internal);
    assert_eq!(effective(&HeaderMap::new(), Some(Duration::MAX), now).unwrap(), None);
}

type Never = std::convert::Infallible;

fn endless(gap: Duration) -> tonic::body::Body {
    let frames = futures_util::stream::unfold((), move |()| async move {
        if gap.is_zero() {
            tokio::time::advance(SECOND / 100).await;
        } else {
            tokio::time::sleep(gap).await;
        }
        Some((Ok::<_, tonic::Status>(http_body::Frame::data(Bytes::from_static(b"x"))), ()))
    });
    tonic::body::Body::new(StreamBody::new(frames))
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_answered_ends_with_deadline_exceeded_and_is_cancelled() {
    let held = std::sync::Arc::new(());
    let inside = held.clone();
    let inner = tower::service_fn(move |request: Request<()>| {
        let inside = inside.clone();
        async move {
            let _held = inside;
            assert_eq!(request.headers()[&GRPC_TIMEOUT], "1000000u");
            std::future::pending::<Result<Response<tonic::body::Body>, Never>>().await
        }
    });
    let start = Instant::now();
    let mut service = DeadlineLayer::new(Some(SECOND)).layer(inner);
    let mut call = pin!(service.call(Request::new(())));
    let answer = call.as_mut().await.unwrap();
    assert_eq!(crate::outcome::grpc_status(answer.headers()), Some(Code::DeadlineExceeded));
    assert!(start.elapsed() >= SECOND && start.elapsed() <= SECOND * 11 / 10);
    // The one here, the one of the service.
    assert_eq!(std::sync::Arc::strong_count(&held), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_at_the_deadline_of_its_call() {
    for gap in [Duration::ZERO, SECOND / 10, 5 * SECOND] {
        let inner = tower::service_fn(move |_: Request<()>| async move { Ok::<_, Never>(Response::new(endless(gap))) });
        let start = Instant::now();
        let mut service = DeadlineLayer::new(Some(SECOND)).layer(inner);
        let mut body = service.call(Request::new(())).await.unwrap().into_body();
        let error = loop {
            if let Err(error) = body.frame().await.unwrap() {
                break error;
            }
        };
        assert_eq!(error.code(), Code::DeadlineExceeded);
        assert!(start.elapsed() >= SECOND && start.elapsed() <= SECOND * 11 / 10, "{:?}", start.elapsed());
        assert!(body.frame().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_late_already_is_not_made() {
    let inner = tower::service_fn(|_: Request<()>| async { Ok::<_, Never>(Response::new(endless(SECOND))) });
    let mut service = DeadlineLayer::new(None).layer(inner);
    let now = Instant::now();
    let answer = scope(now, async { service.call(Request::new(())).await }).await.unwrap();
    assert_eq!(crate::outcome::grpc_status(answer.headers()), Some(Code::DeadlineExceeded));
}

#[tokio::test(start_paused = true)]
async fn a_handler_and_its_stream_know_the_deadline_of_their_call() {
    let inner = tower::service_fn(|_: Request<()>| async {
        assert_eq!(current(), Some(Instant::now() + SECOND));
        let frames = futures_util::stream::once(async {
            assert!(current().is_some());
            Ok::<_, tonic::Status>(http_body::Frame::data(Bytes::new()))
        });
        Ok::<_, Never>(Response::new(tonic::body::Body::new(StreamBody::new(frames))))
    });
    let mut service = IncomingDeadlineLayer.layer(inner);
    let mut request = Request::new(());
    request.headers_mut().insert(&GRPC_TIMEOUT, encode_timeout(SECOND));
    let mut answer = service.call(request).now_or_never().unwrap().unwrap();
    assert_eq!(current(), None);
    answer.body_mut().frame().await.unwrap().unwrap();
    let mut request = Request::new(());
    request.headers_mut().insert(&GRPC_TIMEOUT, "never".parse().unwrap());
    let answer = service.call(request).await.unwrap();
    assert_eq!(crate::outcome::grpc_status(answer.headers()), Some(Code::Internal));
}

#[tokio::test(start_paused = true)]
async fn an_incoming_call_is_over_at_its_own_timeout_or_at_the_most_that_is_allowed() {
    let now = Instant::now();
    let mut headers = HeaderMap::new();
    let of = |headers: &HeaderMap, max| of_incoming(headers, max, now).unwrap();
    assert_eq!(of(&headers, None), None);
    assert_eq!(of(&headers, Some(SECOND)), Some(now + SECOND));
    headers.insert(&GRPC_TIMEOUT, encode_timeout(SECOND / 2));
    assert_eq!(of(&headers, Some(SECOND)), Some(now + SECOND / 2));
    assert_eq!(of(&headers, Some(SECOND / 4)), Some(now + SECOND / 4));
    // The scope of another call says nothing of this one.
    assert_eq!(scope(now, async { of(&headers, None) }).await, Some(now + SECOND / 2));
    headers.insert(&GRPC_TIMEOUT, "soon".parse().unwrap());
    assert!(of_incoming(&headers, None, now).is_err());
}

#[tokio::test(start_paused = true)]
async fn s7_two_timeouts_are_none_whatever_they_say_and_in_whatever_order() {
    let now = Instant::now();
    for (first, second) in [("1S", "2S"), ("2S", "1S"), ("1S", "1S"), ("1S", "soon"), ("soon", "1S")] {
        let mut headers = HeaderMap::new();
        headers.append(&GRPC_TIMEOUT, first.parse().unwrap());
        headers.append(&GRPC_TIMEOUT, second.parse().unwrap());
        assert!(of_incoming(&headers, Some(SECOND), now).is_err(), "{first} and {second}");
        assert_eq!(effective(&headers, None, now).unwrap_err().code(), Code::Internal, "{first} and {second}");
    }
}
