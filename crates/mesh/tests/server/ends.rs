//! The end of a server, and calls that wait for what never comes: each ends with a status, and takes nobody along.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use meshwork::Server;
use meshwork::server::{Budgets, Drain, Resource, Router};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::PollSemaphore;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::{Code, Request};

use crate::support::{Running, SLEEP, UNARY, UPLOAD, calls, send, unary, until, why};
use crate::wire::{Answer, Wire, framed, head};

const AT_ONCE: Option<Duration> = Some(Duration::ZERO);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: &str = "3600000";

#[tokio::test(start_paused = true)]
async fn s11_a_serve_future_that_is_dropped_leaves_neither_connections_nor_calls() {
    let server = Running::start(Server::builder());
    let (busy, idle) = (Wire::new(server.connect().await).await, Wire::new(server.connect().await).await);
    let mut half = server.connect().await;
    half.write_all(b"PRI * HTTP").await.unwrap();
    let call = busy.call(head(SLEEP), HOUR);
    let end = async {
        until("the call has begun", || server.echo.running() == 1).await;
        server.abort();
    };
    // How it ends is not said: its connection may be gone before.
    let _ = timeout(3 * SECOND, async { tokio::join!(call, end) }).await.expect("the call goes on");
    for wire in [busy, idle] {
        // In order or not, it ends.
        let _ = timeout(3 * SECOND, wire.connection).await.expect("a connection is served on").unwrap();
    }
    let mut rest = Vec::new();
    let _ = timeout(3 * SECOND, half.read_to_end(&mut rest)).await.expect("a handshake goes on");
    until("the handler is gone", || server.echo.running() == 0).await;
    assert_eq!(server.echo.finished(), 0);
}

#[tokio::test(start_paused = true)]
async fn s11_calls_that_are_open_at_the_end_of_the_grace_are_unavailable() {
    let drain = Drain { delay: Duration::ZERO, grace: 15 * SECOND, ..Drain::default() };
    let server = Running::start(Server::builder().drain(drain));
    let wire = Wire::new(server.connect().await).await;
    let slow = async {
        let answer = wire.call(head(SLEEP), HOUR).await.unwrap();
        Answer::read(answer, AT_ONCE).await.unwrap().status()
    };
    // The request goes on for ever, and the handler waits for more.
    let upload = async {
        let (answer, mut request) = wire.send(head(UPLOAD).body(()).unwrap(), false).await;
        request.send_data(framed("first"), false).unwrap();
        Answer::read(answer.await.unwrap(), AT_ONCE).await.unwrap().status()
    };
    let stop = async {
        until("both have begun", || server.echo.running() == 2).await;
        server.stop();
        Instant::now()
    };
    let (slow, upload, begin) = tokio::join!(slow, upload, stop);
    for status in [slow, upload] {
        assert_eq!(why(&status), (Code::Unavailable, "SERVER_STOPPING".into()), "{status}");
    }
    let took = begin.elapsed();
    assert!((drain.grace..drain.grace + SECOND).contains(&took), "{took:?}");
    server.ended().await;
}

#[tokio::test(start_paused = true)]
async fn s11_calls_at_the_end_of_an_ages_grace_are_unavailable() {
    let builder = Server::builder().max_connection_age(10 * SECOND).max_connection_age_grace(20 * SECOND);
    let server = Running::start(builder);
    let (wire, begin) = (Wire::new(server.connect().await).await, Instant::now());
    let answer = wire.call(head(SLEEP), HOUR).await.unwrap();
    let status = Answer::read(answer, AT_ONCE).await.unwrap().status();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let took = begin.elapsed();
    assert!((29 * SECOND..32 * SECOND).contains(&took), "{took:?}");
    until("the handler is gone", || server.echo.running() == 0).await;
}

/// Is never ready.
#[derive(Clone)]
struct NeverReady(Router);

impl Service<http::Request<Body>> for NeverReady {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Pending
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.call(request))
    }
}

/// A call that may take a second.
fn hurried() -> Request<String> {
    let mut request = Request::new("x".to_owned());
    request.set_timeout(SECOND);
    request
}

#[tokio::test(start_paused = true)]
async fn s7_a_call_with_two_timeouts_is_refused_whatever_their_order() {
    let server = Running::start(Server::builder());
    let wire = Wire::new(server.connect().await).await;
    for (first, second) in [("1S", "2S"), ("2S", "1S")] {
        let request = head(UNARY).header("grpc-timeout", first).header("grpc-timeout", second);
        let answer = wire.call(request, "x").await.unwrap();
        let status = Answer::read(answer, AT_ONCE).await.unwrap().status();
        assert_eq!(why(&status), (Code::Internal, "INVALID_TIMEOUT".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn s6_a_layer_that_is_never_ready_ends_calls_by_their_deadlines_and_each_alone() {
    let budgets = Budgets::default();
    let layer = tower::layer::layer_fn(NeverReady);
    let server = Running::start_layered(Server::builder().budgets(budgets.clone()).timeout(5 * SECOND).layer(layer));
    let wire = Wire::new(server.connect().await).await;
    let begin = Instant::now();
    let call = async |timeout: &str| {
        let answer = wire.call(head(UNARY).header("grpc-timeout", timeout), "x").await.unwrap();
        (Answer::read(answer, AT_ONCE).await.unwrap().status(), begin.elapsed())
    };
    // What is refused before the layer doesn't wait behind those who wait for it.
    let refused = async {
        sleep(SECOND / 2).await;
        let (answer, _) = wire.send(head(UNARY).method("GET").body(()).unwrap(), true).await;
        (answer.await.unwrap().status().as_u16(), begin.elapsed())
    };
    let (first, second, third, refused) = tokio::join!(call("1S"), call("1S"), call("1H"), refused);
    for ((status, took), expected) in [(first, SECOND), (second, SECOND), (third, 5 * SECOND)] {
        assert_eq!(why(&status), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into()));
        assert!((expected..expected + SECOND / 2).contains(&took), "{took:?}");
    }
    assert!(refused.0 == 405 && refused.1 < SECOND, "{refused:?}");
    until("all is given back", || budgets.in_use(Resource::Calls) == 0).await;
}

/// Lets one call through at a time.
struct OneAtATime {
    routes: Router,
    places: PollSemaphore,
    place: Option<OwnedSemaphorePermit>,
}

impl Clone for OneAtATime {
    fn clone(&self) -> Self {
        Self { routes: self.routes.clone(), places: self.places.clone(), place: None }
    }
}

impl Service<http::Request<Body>> for OneAtATime {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.place = ready!(self.places.poll_acquire(cx));
        self.routes.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (place, call) = (self.place.take(), self.routes.call(request));
        Box::pin(async move {
            let answer = call.await;
            drop(place);
            answer
        })
    }
}

#[tokio::test(start_paused = true)]
async fn s6_calls_that_a_layer_makes_wait_are_within_their_deadlines_and_budgets() {
    let budgets = calls(2);
    let semaphore = Arc::new(Semaphore::new(1));
    let layer = tower::layer::layer_fn(move |routes| OneAtATime {
        routes,
        places: PollSemaphore::new(Arc::clone(&semaphore)),
        place: None,
    });
    let server = Running::start_layered(Server::builder().budgets(budgets.clone()).layer(layer));
    let channel = server.channel();
    let begin = Instant::now();
    let first = unary(&channel, SLEEP, "5000");
    let second = async {
        until("the first has begun", || server.echo.running() == 1).await;
        (send(&channel, UNARY, hurried()).await.unwrap_err(), begin.elapsed())
    };
    let third = async {
        until("the second waits", || budgets.in_use(Resource::Calls) == 2).await;
        unary(&channel, UNARY, "one too many").await.unwrap_err()
    };
    let (first, (second, took), third) = tokio::join!(first, second, third);
    assert!(first.is_ok(), "{first:?}");
    assert_eq!(second.code(), Code::DeadlineExceeded);
    assert!((SECOND..2 * SECOND).contains(&took), "{took:?}");
    assert_eq!(why(&third), (Code::Unavailable, "OVERLOADED".into()));
    assert_eq!(unary(&channel, UNARY, "next").await.unwrap(), "next");
}

#[tokio::test(start_paused = true)]
async fn s6_a_layer_that_waits_for_ever_holds_no_stop() {
    let drain = Drain { delay: Duration::ZERO, grace: 5 * SECOND, ..Drain::default() };
    let layer = tower::layer::layer_fn(|_: Router| {
        tower::service_fn(|_: http::Request<Body>| pending::<Result<http::Response<Body>, Infallible>>())
    });
    let server = Running::start_layered(Server::builder().drain(drain).layer(layer));
    let wire = Wire::new(server.connect().await).await;
    let call = async {
        let answer = wire.call(head(UNARY), "x").await.unwrap();
        Answer::read(answer, AT_ONCE).await.unwrap().status()
    };
    let stop = async {
        sleep(SECOND).await;
        server.stop();
        Instant::now()
    };
    let (status, begin) = tokio::join!(call, stop);
    assert_eq!(why(&status), (Code::Unavailable, "SERVER_STOPPING".into()));
    server.ended().await;
    assert!(begin.elapsed() < drain.grace + 3 * SECOND, "{:?}", begin.elapsed());
}
