//! Tests of calls: what is read of answers, however they come, and what goes on as metadata.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use proptest::prelude::*;
use tokio::runtime::Builder;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::service_fn;

use super::call::{Failure, Head, frame, http_status, metadata_of, start, unary};

fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in all {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

fn head(timeout: Option<Duration>) -> Head {
    Head { path: "/a.B/C".to_owned(), metadata: headers(&[("x-asked", "why"), ("grpc-encoding", "gzip")]), timeout }
}

/// An answer of these pieces, and of trailers unless there are none.
fn answer(pieces: Vec<Bytes>, trailers: Option<HeaderMap>) -> Response<Body> {
    let data = pieces.into_iter().map(|piece| Ok::<_, Status>(Frame::data(piece)));
    let frames: Vec<_> = data.chain(trailers.map(|trailers| Ok(Frame::trailers(trailers)))).collect();
    let mut response = Response::new(Body::new(StreamBody::new(stream::iter(frames))));
    *response.headers_mut() = headers(&[("content-type", "application/grpc"), ("x-answer", "yes")]);
    response
}

/// What [`unary`] gives for an answer.
async fn of(response: Response<Body>) -> Result<(HeaderMap, Bytes, HeaderMap), Failure> {
    let mut response = Some(response);
    let mut calls = service_fn(|_: Request<Body>| {
        let response = response.take().unwrap();
        async move { Ok::<_, Infallible>(response) }
    });
    unary(&mut calls, head(None), Bytes::new()).await
}

fn ok() -> Option<HeaderMap> {
    Some(headers(&[("grpc-status", "0"), ("x-trailer", "told")]))
}

#[tokio::test]
async fn a_call_is_one_of_grpc_with_what_its_head_says() {
    for (timeout, expected) in [
        (None, None),
        (Some(Duration::ZERO), Some("0u")),
        (Some(Duration::from_millis(1500)), Some("1500000u")),
        (Some(Duration::from_secs(1000)), Some("1000000m")),
        (Some(Duration::from_secs(1_000_000)), Some("1000000S")),
        (Some(Duration::MAX), Some("99999999S")),
    ] {
        let mut calls = service_fn(|request: Request<Body>| async move {
            let (parts, body) = request.into_parts();
            let timeout = parts.headers.get("grpc-timeout").map(|value| value.to_str().unwrap());
            assert_eq!((parts.method.as_str(), parts.uri.path(), timeout), ("POST", "/a.B/C", expected));
            for (name, value) in [
                ("content-type", Some("application/grpc")),
                ("te", Some("trailers")),
                ("grpc-accept-encoding", Some("identity")),
                ("grpc-encoding", None),
                ("x-asked", Some("why")),
            ] {
                assert_eq!(parts.headers.get(name).map(|value| value.to_str().unwrap()), value, "{name}");
            }
            assert_eq!(body.collect().await.unwrap().to_bytes(), frame(b"asked"));
            Ok::<_, Infallible>(answer(vec![frame(b"answered")], ok()))
        });
        let (metadata, message, trailers) =
            unary(&mut calls, head(timeout), Bytes::from_static(b"asked")).await.unwrap();
        assert_eq!(metadata, headers(&[("x-answer", "yes")]));
        assert_eq!((&*message, trailers), (&b"answered"[..], headers(&[("x-trailer", "told")])));
    }
}

#[tokio::test]
async fn the_status_is_that_of_the_trailers_or_of_the_head_and_bad_details_are_none() {
    let status = [("grpc-status", "5"), ("grpc-message", "no%20order"), ("x-why", "so")];
    let mut alone = answer(vec![], None);
    alone.headers_mut().extend(headers(&status));
    alone.headers_mut().append("grpc-status-details-bin", HeaderValue::from_static("AQI"));
    let mut trailers = headers(&status);
    trailers.append("grpc-status-details-bin", HeaderValue::from_static("not base64!"));
    for (response, details) in [(alone, &b"\x01\x02"[..]), (answer(vec![], Some(trailers)), b"")] {
        let failure = of(response).await.unwrap_err();
        let status = &failure.status;
        assert_eq!((status.code(), status.message(), status.details()), (Code::NotFound, "no order", details));
        assert_eq!(failure.metadata, headers(&[("x-answer", "yes"), ("x-why", "so")]));
    }
}

#[tokio::test]
async fn an_answer_says_nothing_of_the_connection_and_nothing_to_the_browser() {
    let foreign = headers(&[
        ("access-control-allow-origin", "*"),
        ("access-control-allow-credentials", "true"),
        ("content-encoding", "gzip"),
        ("content-length", "7"),
        ("set-cookie", "a=b"),
        ("transfer-encoding", "chunked"),
        ("connection", "x-this-hop"),
        ("x-this-hop", "1"),
    ]);
    let mut trailers = ok().unwrap();
    trailers.extend(foreign.clone());
    let mut response = answer(vec![frame(b"1")], Some(trailers));
    response.headers_mut().extend(foreign);
    let (metadata, _, trailers) = of(response).await.unwrap();
    assert_eq!((metadata, trailers), (headers(&[("x-answer", "yes")]), headers(&[("x-trailer", "told")])));
}

#[tokio::test]
async fn an_answer_that_is_not_one_message_and_a_status_is_an_error() {
    let mut refused = answer(vec![], None);
    *refused.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    let large = Bytes::from_static(&[0, 0, 0x40, 0, 1]);
    for (response, code) in [
        (refused, Code::Internal),
        (answer(vec![], ok()), Code::Internal),
        (answer(vec![frame(b"1"), frame(b"2")], ok()), Code::Internal),
        (answer(vec![frame(b"1").slice(..3)], ok()), Code::Internal),
        (answer(vec![Bytes::from_static(&[1, 0, 0, 0, 0])], ok()), Code::Internal),
        (answer(vec![large], ok()), Code::OutOfRange),
        (answer(vec![frame(b"1")], None), Code::Internal),
        (answer(vec![frame(b"1")], Some(headers(&[("grpc-status", "8")]))), Code::ResourceExhausted),
    ] {
        assert_eq!(of(response).await.unwrap_err().status.code(), code);
    }
}

proptest! {
    #[test]
    fn messages_are_the_same_however_the_answer_is_cut(
        messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 0..6),
        size in 1_usize..40,
    ) {
        let all: Vec<u8> = messages.iter().flat_map(|message| frame(message)).collect();
        let pieces = all.chunks(size).map(Bytes::copy_from_slice).collect();
        let read = Builder::new_current_thread().build().unwrap().block_on(async {
            let mut response = Some(answer(pieces, ok()));
            let mut calls = service_fn(|_: Request<Body>| {
                let response = response.take().unwrap();
                async move { Ok::<_, Infallible>(response) }
            });
            let mut answer = start(&mut calls, head(None), Body::empty()).await.unwrap();
            let mut read = Vec::new();
            while let Some(message) = answer.messages.next().await {
                read.push(message.unwrap().to_vec());
            }
            assert_eq!(answer.messages.trailers(), Some(&headers(&[("x-trailer", "told")])));
            read
        });
        prop_assert_eq!(read, messages);
    }
}

#[test]
fn metadata_is_what_is_neither_of_the_connection_nor_of_the_browser() {
    let all = headers(&[
        ("authorization", "Bearer x"),
        ("x-request-id", "7"),
        ("x-user-agent", "grpc-web-javascript/0.1"),
        ("grpc-timeout", "1S"),
        ("connection", "keep-alive, x-this-hop"),
        ("x-this-hop", "1"),
        ("host", "gateway"),
        ("content-type", "application/json"),
        ("content-length", "2"),
        ("accept", "*/*"),
        ("accept-encoding", "gzip"),
        ("cookie", "a=b"),
        ("proxy-authorization", "Basic YTpi"),
        ("connect-protocol-version", "1"),
        ("origin", "https://shop.example"),
        ("sec-fetch-mode", "cors"),
        ("x-grpc-web", "1"),
        ("te", "trailers"),
    ]);
    let mut names: Vec<_> = metadata_of(&all).keys().map(|name| name.as_str().to_owned()).collect();
    names.sort_unstable();
    assert_eq!(names, ["authorization", "grpc-timeout", "x-request-id", "x-user-agent"]);
}

#[test]
fn http_statuses_are_those_of_the_table() {
    for (code, status) in [
        (Code::Cancelled, 499),
        (Code::FailedPrecondition, 400),
        (Code::Aborted, 409),
        (Code::ResourceExhausted, 429),
        (Code::Unimplemented, 501),
        (Code::DeadlineExceeded, 504),
        (Code::DataLoss, 500),
    ] {
        assert_eq!(http_status(code).as_u16(), status);
    }
}
