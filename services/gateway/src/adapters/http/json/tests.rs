//! Requests before a service that answers as a test says.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use meshwork_aip::errors::ETAG_MISMATCH;
use meshwork_api::meshwork::orders::v1::order::Line;
use meshwork_api::meshwork::orders::v1::{CancelOrderRequest, GetOrderRequest, Order, WatchOrderResponse};
use prost::Message;
use serde_json::{Value, json};
use tonic::Status;
use tonic::body::Body;
use tower::service_fn;

use super::super::call::frame;
use super::testing::pool;
use super::{Found, Transcoder};

/// A call as the service gets it.
type GrpcCall = (Parts, Bytes);

/// Sends a request, of which the call is answered so.
async fn send(request: Request<Body>, answer: Response<Body>) -> (Option<GrpcCall>, Response<Body>) {
    let (seen, answer) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(Some(answer))));
    let calls = service_fn({
        let seen = Arc::clone(&seen);
        move |request: Request<Body>| {
            let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
            async move {
                let (head, body) = request.into_parts();
                let bytes = body.collect().await.unwrap().to_bytes();
                *seen.lock().unwrap() = Some((head, bytes));
                Ok::<_, Infallible>(answer.lock().unwrap().take().unwrap())
            }
        }
    });
    let transcoder = Transcoder::new(&pool(), |_| true).max_body(1 << 10);
    let Found::Route(matched) = transcoder.find(request.method(), request.uri().path()) else {
        panic!("{} has no method", request.uri())
    };
    let response = transcoder.answer(matched, request, calls).await;
    let seen = seen.lock().unwrap().take();
    (seen, response)
}

fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &'static str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::new(Full::new(Bytes::from_static(body.as_bytes())))).unwrap()
}

fn trailers(status: &'static str) -> Frame<Bytes> {
    Frame::trailers(HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())]))
}

fn answer(frames: Vec<Frame<Bytes>>) -> Response<Body> {
    let frames = stream::iter(frames.into_iter().map(Ok::<_, Infallible>));
    Response::new(Body::new(StreamBody::new(frames)))
}

fn one(message: &impl Message) -> Response<Body> {
    answer(vec![Frame::data(frame(&message.encode_to_vec())), trailers("0")])
}

fn failure(status: Status) -> Response<Body> {
    status.into_http()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn json(response: Response<Body>) -> Value {
    serde_json::from_str(&text(response).await).unwrap()
}

fn update(token: &str) -> Frame<Bytes> {
    Frame::data(frame(&WatchOrderResponse { resume_token: token.to_owned(), ..Default::default() }.encode_to_vec()))
}

#[tokio::test]
async fn a_request_becomes_a_call_and_its_message_json() {
    let order = Order { name: "orders/a".to_owned(), state: 2, etag: "\"v3\"".to_owned(), ..Default::default() };
    let mut answer = one(&order);
    answer.headers_mut().insert("x-answer", "yes".parse().unwrap());
    let headers = [("authorization", "Bearer a"), ("grpc-timeout", "900m"), ("grpc-metadata-x-asked", "why")];
    let (seen, response) = send(request("GET", "/v1/orders/a?version=7", &headers, ""), answer).await;
    let (head, bytes) = seen.unwrap();
    assert_eq!(head.uri.path(), "/meshwork.orders.v1.OrderService/GetOrder");
    assert_eq!(head.headers.get("authorization").unwrap(), "Bearer a");
    assert_eq!(head.headers.get("x-asked").unwrap(), "why");
    assert!(head.headers.contains_key("grpc-timeout"));
    let asked = GetOrderRequest::decode(bytes.slice(5..)).unwrap();
    assert_eq!((asked.name.as_str(), asked.version), ("orders/a", 7));
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers().get("content-type").unwrap(), "application/json");
    assert_eq!(response.headers().get("etag").unwrap(), "\"v3\"");
    assert_eq!(response.headers().get("grpc-metadata-x-answer").unwrap(), "yes");
    let expected = json!({"name": "orders/a", "state": "STATE_CONFIRMED", "etag": "\"v3\""});
    assert_eq!(json(response).await, expected);
}

#[tokio::test]
async fn an_etag_that_does_not_match_fails_the_precondition_of_who_named_one() {
    let mismatch = || failure(ETAG_MISMATCH.status("shop", "it has changed", &[]));
    let cancel = |headers: &[(&str, &str)]| request("POST", "/v1/orders/a:cancel", headers, "");
    let (seen, response) = send(cancel(&[("if-match", "\"v3\"")]), mismatch()).await;
    let asked = CancelOrderRequest::decode(seen.unwrap().1.slice(5..)).unwrap();
    assert_eq!((asked.etag.as_str(), response.status()), ("\"v3\"", StatusCode::PRECONDITION_FAILED));
    let error = json(response).await;
    assert_eq!((&error["error"]["code"], &error["error"]["status"]), (&json!(412), &json!("ABORTED")));
    let (_, response) = send(cancel(&[]), mismatch()).await;
    assert_eq!(response.status(), StatusCode::CONFLICT);
}

#[tokio::test]
async fn what_cannot_be_read_is_never_called() {
    let json = ("content-type", "application/json");
    let large: &'static str = format!("{{\"reason\": \"{}\"}}", "a".repeat(1 << 10)).leak();
    let deep: &'static str = format!("{{\"reason\": {}", "[".repeat(900)).leak();
    for (headers, body, code) in [
        (vec![json], "{", 400),
        (vec![json], "{\"resaon\": \"late\"}", 400),
        (vec![json], "{\"reason\": \"a\", \"reason\": \"b\"}", 400),
        (vec![json], deep, 400),
        (vec![json], large, 413),
        (vec![("content-type", "text/plain")], "{}", 415),
        (vec![], "{}", 415),
        (vec![("grpc-timeout", "soon")], "", 400),
    ] {
        let cancel = request("POST", "/v1/orders/a:cancel", &headers, body);
        let (seen, response) = send(cancel, one(&Order::default())).await;
        assert_eq!((response.status().as_u16(), seen.is_some()), (code, false), "{headers:?} {body:.40}");
        let error = self::json(response).await;
        assert_eq!(error["error"]["code"], code, "{error}");
        assert!(error["error"]["details"][0]["@type"].is_string(), "{error}");
    }
}

#[tokio::test]
async fn a_stream_is_a_line_for_each_message_and_an_error_at_its_end() {
    let answer = answer(vec![update("1"), update("2"), trailers("10")]);
    let (_, response) = send(request("GET", "/v1/orders/a:watch", &[], ""), answer).await;
    assert_eq!(response.headers().get("content-type").unwrap(), "application/x-ndjson");
    let text = text(response).await;
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[..2], [json!({"result": {"resumeToken": "1"}}), json!({"result": {"resumeToken": "2"}})]);
    assert_eq!((lines.len(), &lines[2]["error"]["status"]), (3, &json!("ABORTED")));
}

/// The body of an answer, of which no piece is larger than a connection takes at once.
async fn in_pieces(response: Response<Body>) -> Value {
    let (mut body, mut all) = (response.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        let piece = frame.unwrap().into_data().unwrap();
        assert!(piece.len() <= 64 << 10, "{}", piece.len());
        all.extend_from_slice(&piece);
    }
    serde_json::from_slice(&all).unwrap()
}

#[tokio::test]
async fn what_is_large_as_json_comes_in_pieces() {
    // Each character is six of JSON.
    let text = "\u{1}".repeat(1_000_000);
    let order = Order { name: text.clone(), ..Default::default() };
    let (_, response) = send(request("GET", "/v1/orders/a", &[], ""), one(&order)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(in_pieces(response).await, json!({"name": text}));
    let answer = answer(vec![update(&text), trailers("0")]);
    let (_, response) = send(request("GET", "/v1/orders/a:watch", &[], ""), answer).await;
    assert_eq!(in_pieces(response).await, json!({"result": {"resumeToken": text}}));
}

#[tokio::test]
async fn too_many_values_or_too_much_json_are_errors_before_the_answer_begins() {
    let many = Order { lines: vec![Line::default(); 1 << 16], ..Default::default() };
    let large = Order { name: "\u{1}".repeat(3_000_000), ..Default::default() };
    for (order, limit) in [(many, "65536"), (large, "16777216")] {
        let (_, response) =
            send(request("GET", "/v1/orders/a", &[], ""), one(&Order { etag: "\"v\"".to_owned(), ..order })).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert!(!response.headers().contains_key("retry-after"));
        let error = json(response).await;
        assert_eq!(error["error"]["status"], "OUT_OF_RANGE", "{error}");
        assert_eq!(error["error"]["details"][0]["metadata"]["limit"], limit, "{error}");
    }
}

#[tokio::test]
async fn a_stream_that_fails_at_once_is_an_error_of_http() {
    let failed = failure(Status::not_found("there is no such order"));
    let (_, response) = send(request("GET", "/v1/orders/a:watch", &[], ""), failed).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(json(response).await["error"]["message"], "there is no such order");
}

#[tokio::test(start_paused = true)]
async fn events_have_ids_and_a_sign_of_life_while_there_are_none() {
    let frames = stream::iter([update("1")]).chain(stream::once(async {
        tokio::time::sleep(Duration::from_secs(40)).await;
        update("2")
    }));
    let frames = frames.chain(stream::iter([trailers("0")])).map(Ok::<_, Infallible>);
    let answer = Response::new(Body::new(StreamBody::new(frames)));
    let watch = request("GET", "/v1/orders/a:watch", &[("accept", "text/event-stream")], "");
    let (_, response) = send(watch, answer).await;
    assert_eq!(response.headers().get("content-type").unwrap(), "text/event-stream");
    let alive = ": keep-alive\n\n";
    let event = |token: &str| format!("id: {token}\ndata: {{\"resumeToken\":\"{token}\"}}\n\n");
    let expected = format!("{}{alive}{alive}{}event: end\ndata: {{}}\n\n", event("1"), event("2"));
    assert_eq!(text(response).await, expected);
}
