//! What a server makes of its descriptors, its table and the settings of its methods.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;

use meshwork::connect::Memory;
use meshwork::server::auth::{Access, AccessTable};
use meshwork::server::{MethodSettings, ServerError};
use meshwork::{Server, server};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;
use tonic::{Code, Request, Status};

use crate::support::{Echo, LARGE, NAME, Running, SLEEP, UNARY, UPLOAD, descriptors, refused, send, unary, until, why};
use crate::wire::{Answer, Wire, head};

/// A service that the descriptors don't know: it answers as [`Echo`] does.
#[derive(Clone, Default)]
pub struct Undescribed(Echo);

impl NamedService for Undescribed {
    const NAME: &'static str = "test.Undescribed";
}

impl Service<http::Request<Body>> for Undescribed {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        *request.uri_mut() = http::Uri::from_static(UNARY);
        self.0.call(request)
    }
}

pub const UNDESCRIBED: &str = "/test.Undescribed/Unary";

fn settings(json: &str) -> server::Builder {
    Server::builder().method_settings(MethodSettings::parse(json).unwrap())
}

/// Why a server doesn't start.
pub async fn failed(builder: server::Builder) -> ServerError {
    let listener = Memory::new().listen(NAME).unwrap();
    let server = builder.reflection(false).serve_with_shutdown(listener, std::future::pending());
    tokio::time::timeout(Duration::from_secs(60), server).await.expect("it serves").unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn s9_a_service_that_the_descriptors_do_not_know_is_closed_when_there_is_a_table() {
    let open = Running::start(Server::builder().add_service(Undescribed::default()));
    assert_eq!(unary(&open.channel(), UNDESCRIBED, "x").await.unwrap(), "x");
    let table = AccessTable::new().method(UNARY, Access::Public);
    let closed = Running::start(Server::builder().access(table.clone()).add_service(Undescribed::default()));
    let channel = closed.channel();
    for path in [UNDESCRIBED, "/test.Undescribed/", "/test.Undescribed/Other"] {
        assert_eq!(unary(&channel, path, "x").await.unwrap_err().code(), Code::Unauthenticated, "{path}");
    }
    assert_eq!(unary(&channel, UNARY, "x").await.unwrap(), "x");
    let named = table.method(UNDESCRIBED, Access::Public);
    let named = Running::start(Server::builder().access(named).add_service(Undescribed::default()));
    assert_eq!(unary(&named.channel(), UNDESCRIBED, "x").await.unwrap(), "x");
}

#[tokio::test(start_paused = true)]
async fn s9_what_nobody_answers_is_unimplemented_and_what_is_not_named_is_refused() {
    let table = AccessTable::new().method(UNARY, Access::Public);
    let server = Running::start(Server::builder().access(table));
    let channel = server.channel();
    for path in ["/test.Echo/Nothing", "/test.Nothing/Unary", "/nothing"] {
        assert_eq!(unary(&channel, path, "x").await.unwrap_err().code(), Code::Unimplemented, "{path}");
    }
    assert_eq!(unary(&channel, SLEEP, "1").await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(server.echo.finished(), 0);
}

#[tokio::test(start_paused = true)]
async fn s9_a_fallback_is_closed_for_what_it_has_and_the_table_does_not_name() {
    let table = AccessTable::new().method("/fall.Back/Open", Access::Public);
    let has = |path: &str| matches!(path, "/fall.Back/Open" | "/fall.Back/Closed");
    let server = Running::start(Server::builder().access(table).fallback(Undescribed::default(), has));
    let channel = server.channel();
    assert_eq!(unary(&channel, "/fall.Back/Open", "x").await.unwrap(), "x");
    assert_eq!(unary(&channel, "/fall.Back/Closed", "x").await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test(start_paused = true)]
async fn s9_descriptors_that_cannot_be_read_stop_the_start() {
    let table = AccessTable::new().method(UNARY, Access::Public);
    let builder = Server::builder().access(table).add_service(Echo::default()).descriptors(*b"\xff\xff nonsense");
    let error = failed(builder).await;
    assert!(matches!(error, ServerError::Descriptors(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_method_has_its_own_timeout_and_the_server_its_own_beside_it() {
    let builder =
        settings(r#"{"methodConfig": [{"name": [{"service": "test.Echo", "method": "Sleep"}], "timeout": "2s"}]}"#);
    let server = Running::start(builder.timeout(Duration::from_secs(600)));
    let channel = server.channel();
    let begin = Instant::now();
    let status = unary(&channel, SLEEP, "60000").await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!((Duration::from_secs(2)..Duration::from_secs(3)).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    // What the client allows holds if it is less.
    let mut hurried = Request::new("60000".to_owned());
    hurried.set_timeout(Duration::from_secs(1));
    let begin = Instant::now();
    assert_eq!(send(&channel, SLEEP, hurried).await.unwrap_err().code(), Code::DeadlineExceeded);
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert!(unary(&channel, LARGE, "10 60000").await.is_ok(), "a method without a setting");
}

#[tokio::test(start_paused = true)]
async fn a_method_takes_messages_of_its_own_size() {
    let server = Running::start(settings(
        r#"{"methodConfig": [
            {"name": [{"service": "test.Echo", "method": "Unary"}], "maxRequestMessageBytes": 1000},
            {"name": [{"service": "test.Echo"}], "maxRequestMessageBytes": 2000}
        ]}"#,
    ));
    let channel = server.channel();
    let too_large = |status: &Status| assert_eq!(why(status), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".into()));
    assert!(unary(&channel, UNARY, "x".repeat(990)).await.is_ok());
    too_large(&unary(&channel, UNARY, "x".repeat(1100)).await.unwrap_err());
    assert_eq!(unary(&channel, UPLOAD, "x".repeat(1100)).await.unwrap(), "1");
    too_large(&unary(&channel, UPLOAD, "x".repeat(2100)).await.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn a_method_has_so_many_calls_and_others_go_on() {
    let server = Running::start(settings(
        r#"{"methodConfig": [{
            "name": [{"service": "test.Echo", "method": "Sleep"}],
            "meshwork": {"maxConcurrentCalls": 2}
        }]}"#,
    ));
    let channel = server.channel();
    let calls = [(); 2].map(|()| {
        let channel = channel.clone();
        tokio::spawn(async move { unary(&channel, SLEEP, "5000").await })
    });
    until("both have begun", || server.echo.running() == 2).await;
    let status = unary(&channel, SLEEP, "1").await.unwrap_err();
    assert_eq!(refused(&status), (Code::Unavailable, "OVERLOADED".into(), "method".into()));
    assert_eq!(unary(&channel, UNARY, "x").await.unwrap(), "x");
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(unary(&channel, SLEEP, "1").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_method_waits_for_its_first_message_as_long_as_is_set() {
    let server = Running::start(settings(
        r#"{"methodConfig": [{"name": [{"service": "test.Echo"}], "meshwork": {"firstMessageTimeout": "2s"}}]}"#,
    ));
    let wire = Wire::new(server.connect().await).await;
    let begin = Instant::now();
    let (answer, _request) = wire.send(head(UNARY).body(()).unwrap(), false).await;
    let answer = Answer::read(answer.await.unwrap(), None).await.unwrap();
    assert_eq!(why(&answer.status()), (Code::DeadlineExceeded, "REQUEST_TIMED_OUT".into()));
    assert!((Duration::from_secs(2)..Duration::from_secs(3)).contains(&begin.elapsed()), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_setting_for_a_method_that_its_service_lacks_stops_the_start() {
    let builder =
        settings(r#"{"methodConfig": [{"name": [{"service": "test.Echo", "method": "Sleeep"}], "timeout": "2s"}]}"#);
    let error = failed(builder.descriptors(descriptors()).add_service(Echo::default())).await;
    assert!(matches!(&error, ServerError::UnknownMethod(path) if path == "/test.Echo/Sleeep"), "{error}");
    assert!(error.to_string().contains("/test.Echo/Sleeep"), "{error}");
}
