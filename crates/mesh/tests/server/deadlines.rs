//! Deadlines, as the server keeps them.

use std::time::Duration;

use meshwork::Server;
use tokio::time::Instant;
use tonic::{Code, Request};

use crate::support::{Running, SLEEP, STREAM, UNARY, send, stream, until};

/// A request whose client itself waits longer than its server may take.
fn request(said: &str, timeout: &'static str) -> Request<String> {
    let mut request = Request::new(said.to_owned());
    request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
    request
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_at_its_deadline_and_its_work_is_cancelled() {
    let server = Running::start(Server::builder().timeout(Duration::from_millis(300)));
    let begin = Instant::now();
    let status = send(&server.channel(), SLEEP, request("60000", "60S")).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    until("the handler is gone", || server.echo.running() == 0).await;
    assert_eq!(server.echo.finished(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_at_its_deadline_in_its_trailers() {
    let server = Running::start(Server::builder().timeout(Duration::from_millis(450)));
    let mut messages = stream(&server.channel(), STREAM, request("", "60S")).await.unwrap();
    for expected in 0..4 {
        assert_eq!(messages.message().await.unwrap().unwrap(), expected.to_string());
    }
    let status = messages.message().await.unwrap_err();
    // A reset would be told as CANCELLED or INTERNAL, without a message.
    assert_eq!(
        (status.code(), status.message()),
        (Code::DeadlineExceeded, "the deadline of the call passed before the end of its response")
    );
    until("the stream is gone", || server.echo.running() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn the_earlier_of_the_clients_deadline_and_the_servers_holds() {
    let server = Running::start(Server::builder().timeout(Duration::from_secs(10)));
    let begin = Instant::now();
    let mut request = Request::new("60000".to_owned());
    request.set_timeout(Duration::from_millis(200));
    let status = send(&server.channel(), SLEEP, request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(begin.elapsed() < Duration::from_secs(1));
    until("the handler is gone", || server.echo.running() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_timeout_a_call_may_take_its_time() {
    let server = Running::start(Server::builder());
    let answer = send(&server.channel(), SLEEP, Request::new("3600000".to_owned())).await;
    assert_eq!(answer.unwrap(), "");
    assert_eq!(send(&server.channel(), UNARY, Request::new("x".to_owned())).await.unwrap(), "x");
}
