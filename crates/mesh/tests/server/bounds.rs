//! What a server bounds: panics to their calls, messages to a size, calls in flight to a number.

use std::sync::Arc;
use std::time::Duration;

use meshwork::Server;
use meshwork::server::auth::{Access, AccessTable, Authenticated, Authenticator};
use meshwork::server::{Domain, Peer, Resource};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use crate::support::{FLOOD, PANIC, Running, SLEEP, UNARY, UPLOAD, calls, stream, unary, until};

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| format!("{}/{}", info.domain, info.reason)).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_fails_its_own_call_with_internal() {
    let server = Running::start(Server::builder().domain(Domain::new("test.example")));
    let channel = server.channel();
    let status = stream(&channel, PANIC, Request::new(String::new())).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Internal, "test.example/HANDLER_PANICKED"));
    assert_eq!(unary(&channel, UNARY, "still there").await.unwrap(), "still there");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_panics_ends_with_internal_and_tells_no_secret() {
    let server = Running::start(Server::builder());
    let channel = server.channel();
    let mut messages = stream(&channel, PANIC, Request::new("stream".to_owned())).await.unwrap();
    assert_eq!(messages.message().await.unwrap().unwrap(), "0");
    let status = messages.message().await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Internal, "meshwork/HANDLER_PANICKED"));
    assert!(!status.message().contains("secret"), "{status:?}");
    assert_eq!(unary(&channel, UNARY, "still there").await.unwrap(), "still there");
}

#[tokio::test(start_paused = true)]
async fn a_message_above_the_size_is_resource_exhausted() {
    let server = Running::start(Server::builder().max_message_size(1000));
    let channel = server.channel();
    // A tag and a length of two bytes come before the text.
    assert!(unary(&channel, UNARY, "x".repeat(997)).await.is_ok());
    let status = unary(&channel, UNARY, "x".repeat(998)).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "meshwork/MESSAGE_TOO_LARGE"));
    assert_eq!(status.message(), "a message of 1001 bytes is larger than the 1000 bytes that this server takes");
}

#[tokio::test(start_paused = true)]
async fn the_second_message_of_a_stream_is_held_to_the_size_too() {
    let server = Running::start(Server::builder().max_message_size(1000));
    let mut grpc = tonic::client::Grpc::new(server.channel());
    grpc.ready().await.unwrap();
    let messages = tokio_stream::iter(["a".to_owned(), "x".repeat(5000)]);
    let codec = tonic_prost::ProstCodec::<String, String>::default();
    let path = http::uri::PathAndQuery::from_static(UPLOAD);
    let status = grpc.client_streaming(Request::new(messages), path, codec).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "meshwork/MESSAGE_TOO_LARGE"));
    until("the handler is gone", || server.echo.running() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn calls_above_the_limit_are_shed_at_once_and_streams_take_no_place_of_theirs() {
    let limit = calls(1);
    let server = Running::start(Server::builder().budgets(limit.clone()));
    let channel = server.channel();
    let held = stream(&channel, FLOOD, Request::new(String::new())).await.unwrap();
    let sleeping = tokio::spawn({
        let channel = channel.clone();
        async move { unary(&channel, SLEEP, "1000").await }
    });
    until("a call is in flight", || limit.in_use(Resource::Calls) == 1).await;
    let begin = tokio::time::Instant::now();
    let status = unary(&channel, UNARY, "one more").await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "meshwork/OVERLOADED"));
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    assert!(begin.elapsed() < Duration::from_millis(500), "it did not wait for a place");
    assert_eq!(limit.refused(Resource::Calls), 1);
    sleeping.await.unwrap().unwrap();
    assert_eq!(unary(&channel, UNARY, "again").await.unwrap(), "again");
    drop(held);
    until("nothing is in flight", || limit.in_use(Resource::Calls) == 0).await;
}

/// Knows nobody, and says so.
struct Nobody;

impl Authenticator for Nobody {
    fn authenticate(&self, _: &http::HeaderMap, _: Option<&Peer>) -> Authenticated {
        Authenticated::Now(Err(Status::unauthenticated("nobody")))
    }
}

/// Refuses with a status of a megabyte.
#[tokio::test(start_paused = true)]
async fn a_status_is_cut_to_what_every_client_takes_whoever_made_it() {
    let layer = tower::layer::layer_fn(|routes: meshwork::server::Router| {
        drop(routes);
        tower::service_fn(async |request: http::Request<tonic::body::Body>| {
            let details = bytes::Bytes::from(vec![1; 1 << 20]);
            let status = Status::with_details(Code::NotFound, "long ".repeat(200_000), details);
            Ok::<_, std::convert::Infallible>(match request.uri().path() {
                UNARY => status.into_http(),
                _ => {
                    let response = http::Response::builder().header("content-type", "application/grpc");
                    response.body(tonic::body::Body::new(Ends(Some(status)))).unwrap()
                }
            })
        })
    });
    let server = Running::start_layered(Server::builder().layer(layer));
    let channel = server.channel();
    for path in [UNARY, FLOOD] {
        use tower::Service as _;
        let request = http::Request::post(path)
            .header("content-type", "application/grpc")
            .body(tonic::body::Body::new(http_body_util::Full::new(empty())));
        let response = channel.clone().call(request.unwrap()).await.unwrap();
        // A stream that fails before its first message is answered by headers alone, as a failed call is.
        let headers = response.headers().clone();
        let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        assert!(size < 8 << 10, "{path}: {size}");
        let status = Status::from_header_map(&headers).unwrap();
        assert!(status.code() == Code::NotFound && status.message().ends_with('…'), "{path}: {status}");
    }
}

/// A message without a byte.
fn empty() -> bytes::Bytes {
    bytes::Bytes::from_static(&[0; 5])
}

/// A body that is nothing but trailers.
struct Ends(Option<Status>);

impl http_body::Body for Ends {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Status>>> {
        std::task::Poll::Ready(self.0.take().map(|status| {
            let mut trailers = http::HeaderMap::new();
            status.add_header(&mut trailers)?;
            Ok(http_body::Frame::trailers(trailers))
        }))
    }
}

#[tokio::test(start_paused = true)]
async fn health_checks_pass_by_identity_and_shedding() {
    let server = Running::start(Server::builder().authenticator(Arc::new(Nobody)).access(AccessTable::new()));
    let channel = server.channel();
    assert_eq!(unary(&channel, UNARY, "x").await.unwrap_err().code(), Code::Unauthenticated);
    HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
    let limit = calls(1);
    let server = Running::start(Server::builder().budgets(limit.clone()));
    let channel = server.channel();
    let _holds = tokio::spawn({
        let channel = channel.clone();
        async move { unary(&channel, SLEEP, "60000").await }
    });
    until("a call is in flight", || limit.in_use(Resource::Calls) == 1).await;
    assert_eq!(unary(&channel, UNARY, "x").await.unwrap_err().code(), Code::Unavailable);
    HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_method_that_the_table_does_not_know_is_refused() {
    let table = AccessTable::new().method(UNARY, Access::Public);
    let server = Running::start(Server::builder().access(table));
    let channel = server.channel();
    assert_eq!(unary(&channel, UNARY, "x").await.unwrap(), "x");
    assert_eq!(unary(&channel, SLEEP, "1").await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(server.echo.finished(), 0);
}
