//! Calls that fail on their way, and what their callers are told.

use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use prost::Message as _;
use tonic::body::Body;
use tonic::{Code, Request, Status};
use tower::ServiceExt as _;

use crate::support::{HANG, PROXY, UNARY, UPLOAD, UPSTREAM, World, assert_is_refusal, refusal, until};

/// A message as it is framed.
fn framed(said: &str) -> Bytes {
    let message = said.to_owned().encode_to_vec();
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    frame.into()
}

/// Calls the proxy without a server and a client around it, which would answer in its place.
async fn pass(world: &World, path: &str, timeout: Option<&str>, body: Body) -> Status {
    let mut request = http::Request::post(format!("http://proxy{path}")).header("content-type", "application/grpc");
    if let Some(timeout) = timeout {
        request = request.header("grpc-timeout", timeout);
    }
    let response = world.proxy.clone().oneshot(request.body(body).unwrap()).await.unwrap();
    if let Some(status) = Status::from_header_map(response.headers()) {
        return status;
    }
    let read = response.into_body().collect().await.unwrap();
    Status::from_header_map(read.trailers().unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_call_to_an_upstream_that_is_down_is_unavailable_until_it_is_back() {
    let world = World::start();
    world.network.refuse(UPSTREAM);
    let status = world.unary(Request::new(String::new())).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "echo doesn't answer at this moment"));
    world.network.restore(UPSTREAM);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.unary(Request::new("back".to_owned())).await.unwrap().into_inner(), "back");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_ends_with_a_status_and_its_connection_goes_on() {
    let world = World::start();
    let mut answers = world.stream(HANG).await.unwrap().into_inner();
    for number in ["0", "1", "2"] {
        assert_eq!(answers.message().await.unwrap().unwrap(), number);
    }
    assert_eq!(world.network.cut(UPSTREAM), 1);
    let status = answers.message().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "echo doesn't answer at this moment"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.unary(Request::new("on".to_owned())).await.unwrap().into_inner(), "on");
    assert_eq!(world.network.connects(PROXY), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_cut_before_its_answer_is_unavailable() {
    let world = World::start();
    let cut = async {
        until("the call has come", || world.echo.calls() == 1).await;
        world.network.cut(UPSTREAM);
    };
    let (status, ()) = tokio::join!(world.unary(Request::new(HANG.to_owned())), cut);
    assert_eq!(status.unwrap_err().message(), "echo doesn't answer at this moment");
}

#[tokio::test(start_paused = true)]
async fn a_call_past_its_deadline_is_said_to_be_so_and_ends_at_the_upstream() {
    let world = World::start();
    let status = pass(&world, UNARY, Some("50m"), Body::new(Full::new(framed(HANG)))).await;
    assert_eq!((status.code(), status.message()), (Code::DeadlineExceeded, "echo didn't answer in time"));
    until("the call has ended", || world.running() == 0).await;
    let status = pass(&world, "/test.Echo/Stream", Some("50m"), Body::new(Full::new(framed(HANG)))).await;
    assert_eq!((status.code(), status.message()), (Code::DeadlineExceeded, "echo didn't answer in time"));
    until("the stream has ended", || world.running() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_fails_is_its_callers_failure_and_keeps_its_status() {
    let world = World::start();
    let frames = [Ok(Frame::data(framed("first"))), Err(refusal())];
    let body = Body::new(StreamBody::new(tokio_stream::iter(frames)));
    assert_is_refusal(&pass(&world, UPLOAD, None, body).await);
}
