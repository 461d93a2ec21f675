//! Calls that go on when the credentials of their caller expire.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use http::{HeaderMap, Response};
use meshwork::server::auth::{Authenticated, Authenticator, Principal};
use meshwork::server::{Builder, CallEnd, CallObserver, Calls, Domain, HttpService, IncomingCall, Peer};
use meshwork::{Channel, Server};
use tokio::time::{Instant, sleep};
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::support::{FLOOD, Running, SLEEP, STREAM, UNARY, UPLOAD, send, stream, until};
use crate::wire::{Answer, Wire, framed, head};

const MILLIS: Duration = Duration::from_millis(1);
const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

/// Knows callers by `x-name`; `x-until` says when their credentials expire, in milliseconds of its clock.
struct Expiring {
    begin: Instant,
    slow: bool,
}

impl Authenticator for Expiring {
    fn authenticate(&self, headers: &HeaderMap, _: Option<&Peer>) -> Authenticated {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let principal = text("x-name").map(|name| Principal::new(name, ["customer"]));
        let until = text("x-until").map(|until| UNIX_EPOCH + until.parse::<u32>().unwrap() * MILLIS);
        let principal = principal.map(|principal| match until {
            Some(until) => principal.with_expiry(until),
            None => principal,
        });
        if self.slow {
            return Authenticated::Later(Box::pin(async move {
                sleep(100 * MILLIS).await;
                Ok(principal)
            }));
        }
        Authenticated::Now(Ok(principal))
    }

    /// It stands at 1970, whatever the system says.
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + self.begin.elapsed()
    }
}

/// The codes that calls ended with.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<Vec<Code>>>);

impl CallObserver for Ends {
    fn ended(&self, _: &IncomingCall<'_>, end: &CallEnd) {
        self.0.lock().unwrap().push(end.code);
    }
}

fn builder() -> Builder {
    let authenticator = Expiring { begin: Instant::now(), slow: false };
    Server::builder().domain(Domain::new("test.example")).authenticator(Arc::new(authenticator))
}

fn by(name: &'static str, until: Option<&'static str>, said: &str) -> Request<String> {
    let mut request = Request::new(said.to_owned());
    request.metadata_mut().insert("x-name", name.parse().unwrap());
    if let Some(until) = until {
        request.metadata_mut().insert("x-until", until.parse().unwrap());
    }
    request
}

#[track_caller]
fn assert_expired(status: &Status, when: &str) {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("{status:?}"));
    let said = (status.code(), info.domain.as_str(), info.reason.as_str());
    assert_eq!(said, (Code::Unauthenticated, "test.example", "CREDENTIALS_EXPIRED"), "{status:?}");
    let message = format!("the credentials of the call expired {when}; refresh the session and call again");
    assert_eq!(status.message(), message);
}

async fn sleeps(channel: &Channel, request: Request<String>) -> (Result<String, Status>, Duration) {
    let begin = Instant::now();
    (send(channel, SLEEP, request).await, begin.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_callers_credentials_and_anothers_goes_on() {
    let ends = Ends::default();
    let server = Running::start(builder().observer(Arc::new(ends.clone())));
    let channel = server.channel();
    let mut others = stream(&channel, STREAM, by("bert", None, "")).await.unwrap();
    let mut messages = stream(&channel, STREAM, by("anna", Some("450"), "")).await.unwrap();
    for expected in 0..4 {
        assert_eq!(messages.message().await.unwrap().unwrap(), expected.to_string());
    }
    assert_expired(&messages.message().await.unwrap_err(), "before the end of its response");
    until("the stream is gone", || server.echo.running() == 1).await;
    until("it is observed", || ends.0.lock().unwrap().contains(&Code::Unauthenticated)).await;
    for expected in 0..20 {
        assert_eq!(others.message().await.unwrap().unwrap(), expected.to_string());
    }
    assert_eq!(*ends.0.lock().unwrap(), [Code::Unauthenticated]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_never_waits_ends_with_its_callers_credentials() {
    let server = Running::start(builder());
    let mut messages = stream(&server.channel(), FLOOD, by("anna", Some("1000"), "")).await.unwrap();
    let status = loop {
        match messages.message().await {
            Ok(message) => assert!(message.is_some(), "it has no end"),
            Err(status) => break status,
        }
        sleep(MILLIS).await;
    };
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    until("the stream is gone", || server.echo.running() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_has_no_answer_yet_ends_and_its_work_is_cancelled() {
    let server = Running::start(builder());
    let (answer, took) = sleeps(&server.channel(), by("anna", Some("300"), "60000")).await;
    assert_expired(&answer.unwrap_err(), "before its answer");
    assert!((200 * MILLIS..400 * MILLIS).contains(&took), "{took:?}");
    until("the handler is gone", || server.echo.running() == 0).await;
    assert_eq!(server.echo.finished(), 0);
    // What is answered before is answered.
    assert_eq!(send(&server.channel(), UNARY, by("anna", Some("60000"), "x")).await.unwrap(), "x");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_still_arrives_ends_with_its_callers_credentials() {
    let server = Running::start(builder());
    let wire = Wire::new(server.connect().await).await;
    for (path, until) in [(UPLOAD, "300"), (UNARY, "600")] {
        let request = head(path).header("x-name", "anna").header("x-until", until).body(()).unwrap();
        let (answer, mut request) = wire.send(request, false).await;
        if path == UPLOAD {
            request.send_data(framed("first"), false).unwrap();
        }
        let status = Answer::read(answer.await.unwrap(), AT_ONCE).await.unwrap().status();
        assert_expired(&status, "before its answer");
    }
    until("no handler is left", || server.echo.running() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn the_earlier_of_deadline_and_expiry_holds() {
    let server = Running::start(builder().timeout(500 * MILLIS));
    let channel = server.channel();
    let (answer, took) = sleeps(&channel, by("anna", Some("60000"), "60000")).await;
    assert_eq!(answer.unwrap_err().code(), Code::DeadlineExceeded);
    assert!(took >= 499 * MILLIS, "{took:?}");
    let (answer, took) = sleeps(&channel, by("anna", Some("800"), "60000")).await;
    assert_expired(&answer.unwrap_err(), "before its answer");
    assert!(took < 400 * MILLIS, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_is_known_late_expires_in_time() {
    let authenticator = Expiring { begin: Instant::now(), slow: true };
    let builder = Server::builder().domain(Domain::new("test.example")).authenticator(Arc::new(authenticator));
    let server = Running::start(builder.timeout(Duration::from_secs(30)));
    let channel = server.channel();
    // The timer is set for the deadline first.
    let (answer, took) = sleeps(&channel, by("anna", Some("400"), "60000")).await;
    assert_expired(&answer.unwrap_err(), "before its answer");
    assert!((300 * MILLIS..500 * MILLIS).contains(&took), "{took:?}");
    // Meanwhile it has expired.
    let (answer, _) = sleeps(&channel, by("anna", Some("450"), "0")).await;
    assert_expired(&answer.unwrap_err(), "before it began");
    assert_eq!(server.echo.finished(), 0);
}

#[tokio::test(start_paused = true)]
async fn credentials_that_hold_for_long_end_nothing() {
    let server = Running::start(builder());
    // For ever, and for weeks.
    for until in [None, Some("4294967295")] {
        assert_eq!(send(&server.channel(), SLEEP, by("anna", until, "3600000")).await.unwrap(), "");
    }
}

/// Makes the call that a request names, and answers with the code that it ends with.
struct Front;

impl HttpService for Front {
    fn call(&self, request: http::Request<Body>, mut calls: Calls) -> BoxFuture<'static, Response<Body>> {
        Box::pin(async move {
            let mut call = http::Request::post(request.uri().path()).header("content-type", "application/grpc");
            for name in ["x-name", "x-until"] {
                call = call.header(name, request.headers().get(name).unwrap());
            }
            let message = http_body_util::Full::new(framed(""));
            let Ok(answer) = calls.call(call.body(Body::new(message)).unwrap()).await;
            let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap();
            let status = Status::from_header_map(body.trailers().unwrap()).unwrap();
            Response::new(Body::new(http_body_util::Full::new(format!("{:?}", status.code()).into())))
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_made_for_a_request_of_http_ends_too() {
    let server = Running::start(builder().http(Front));
    let wire = Wire::new(server.connect().await).await;
    let request =
        http::Request::get(format!("http://server{STREAM}")).header("x-name", "anna").header("x-until", "500");
    let (answer, _) = wire.send(request.body(()).unwrap(), true).await;
    let answer = Answer::read(answer.await.unwrap(), AT_ONCE).await.unwrap();
    assert_eq!(String::from_utf8(answer.data).unwrap(), "Unauthenticated");
}
