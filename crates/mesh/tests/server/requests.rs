//! What a request must be: S14, its method and its content type; S19, its headers.

use std::time::Duration;

use http::{Method, Request, request};
use meshwork::Server;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{Running, SLEEP, UNARY, why};
use crate::wire::{Answer, Wire, head};

const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

/// A head as `Wire` has it, but for the content type.
fn typed(content_type: &str) -> request::Builder {
    Request::post(format!("http://server{UNARY}")).header("te", "trailers").header("content-type", content_type)
}

/// Fields with short names and values.
fn with_fields(mut head: request::Builder, count: usize) -> request::Builder {
    for number in 0..count {
        head = head.header(format!("x-{number}"), "v");
    }
    head
}

/// The answer to a request that is no more than this head.
async fn answer(wire: &Wire, head: request::Builder) -> Answer {
    let (answer, _) = wire.send(head.body(()).unwrap(), true).await;
    Answer::read(answer.await.unwrap(), AT_ONCE).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn s14_another_content_type_is_answered_by_http_and_no_handler_sees_it() {
    let server = Running::start(Server::builder());
    let wire = Wire::new(server.connect().await).await;
    let foreign = [
        "application/json",
        "application/grpc-web",
        "application/grpc-web+proto",
        "application/grpc-web-text",
        "application/grpcx",
        "application/x-protobuf",
        "text/plain",
        "",
    ];
    let without = Request::post(format!("http://server{UNARY}")).header("te", "trailers");
    for (name, head) in foreign.into_iter().map(|name| (name, typed(name))).chain([("none", without)]) {
        let answer = answer(&wire, head).await;
        let headers = &answer.head.headers;
        assert_eq!(answer.head.status.as_u16(), 415, "{name}");
        assert!(!headers.contains_key("grpc-status"), "{name}: {headers:?}");
        assert!(headers["content-type"].to_str().unwrap().starts_with("text/plain"), "{name}: {headers:?}");
        let text = String::from_utf8(answer.data).unwrap();
        assert!(text.contains("application/grpc"), "{name}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn s14_content_types_of_grpc_are_taken() {
    let server = Running::start(Server::builder());
    let wire = Wire::new(server.connect().await).await;
    for name in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"] {
        let answer = Answer::read(wire.call(typed(name), "said").await.unwrap(), AT_ONCE).await.unwrap();
        assert_eq!((answer.head.status.as_u16(), answer.status().code()), (200, Code::Ok), "{name}");
        assert!(answer.data.ends_with(b"said"), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn s14_a_method_that_is_not_post_is_not_allowed() {
    let server = Running::start(Server::builder());
    let wire = Wire::new(server.connect().await).await;
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let answer = answer(&wire, head(UNARY).method(method.clone())).await;
        assert_eq!(answer.head.status.as_u16(), 405, "{method}");
        assert_eq!(answer.head.headers["allow"], "POST", "{method}");
        assert!(!answer.head.headers.contains_key("grpc-status"), "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn s19_two_thousand_small_fields_refuse_their_call_alone() {
    let server = Running::start(Server::builder());
    let wire = Wire::new(server.connect().await).await;
    let other = wire.call(head(SLEEP), "5000");
    let refused = async {
        for _ in 0..20 {
            let (answer, _) = wire.send(with_fields(head(UNARY), 2000).body(()).unwrap(), true).await;
            // The stream is reset after this head.
            let (parts, _) = answer.await.unwrap().into_parts();
            let status = tonic::Status::from_header_map(&parts.headers).map(|status| status.code());
            assert!(parts.status.as_u16() == 431 || status == Some(Code::ResourceExhausted), "{parts:?}");
        }
    };
    let (other, ()) = tokio::join!(other, refused);
    assert_eq!(Answer::read(other.unwrap(), AT_ONCE).await.unwrap().status().code(), Code::Ok);
    let next = wire.call(head(UNARY), "next").await.unwrap();
    assert_eq!(Answer::read(next, AT_ONCE).await.unwrap().status().code(), Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn s19_headers_above_the_limit_are_refused_with_a_status_that_says_the_limit() {
    let server = Running::start(Server::builder().max_header_list_size(16 << 10));
    let wire = Wire::new(server.connect().await).await;
    let large = |bytes: usize| head(UNARY).header("x-large", "x".repeat(bytes));
    for (what, head) in [("one", large(17 << 10)), ("one", large(60 << 10)), ("many", with_fields(head(UNARY), 600))] {
        let answer = answer(&wire, head).await;
        let status = answer.status();
        assert_eq!(answer.head.status.as_u16(), 200, "{what}");
        assert_eq!(why(&status), (Code::ResourceExhausted, "HEADERS_TOO_LARGE".into()), "{what}");
        assert_eq!(status.get_details_error_info().unwrap().metadata["limit"], "16384");
    }
    for head in [large(15 << 10), with_fields(head(UNARY), 300)] {
        let answer = Answer::read(wire.call(head, "fits").await.unwrap(), AT_ONCE).await.unwrap();
        assert_eq!(answer.status().code(), Code::Ok);
    }
}
