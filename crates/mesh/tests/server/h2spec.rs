//! The server against `h2spec`, which breaks the rules of RFC 7540 and RFC 7541 one by one.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use meshwork::Server;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;

/// A method as services have it.
const CHECK: &str = "/grpc.health.v1.Health/Check";
/// One that reads the request to its end, takes its time, and answers with data whatever it was sent: then it is the server
/// whose answers are seen, and not how quick a method is.
const SLOW: &str = "/test.Slow/Answer";
const PAUSE: Duration = Duration::from_millis(50);
/// How long `h2spec` waits for each answer, in seconds, and how long all of it may take.
const PATIENCE: &str = "2";
const BOUND: Duration = Duration::from_secs(120);

/// The server closes the connection, and what it had not read makes that a reset; this version of `h2spec` knows only the end
/// of a connection as closed.
const RESET: (&str, &str) = ("http2/3.5", "Sends invalid connection preface");
/// The answers of gRPC to requests that are none have no DATA frame, only headers that hold the status.
const TRAILERS_ONLY: [(&str, &str); 2] = [
    ("generic/2", "Sends a WINDOW_UPDATE frame on half-closed (remote) stream"),
    ("generic/2", "Sends a PRIORITY frame on half-closed (remote) stream"),
];
/// A method that answers at once has few calls at a time, however many come.
const QUICK: (&str, &str) =
    ("http2/5.1.2", "Sends HEADERS frames that causes their advertised concurrent stream limit to be exceeded");

#[derive(Clone)]
struct Slow;

impl NamedService for Slow {
    const NAME: &'static str = "test.Slow";
}

impl Service<http::Request<Body>> for Slow {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let _ = request.into_body().collect().await;
            tokio::time::sleep(PAUSE).await;
            Ok(http::Response::new(Body::new(http_body_util::Full::from("an answer"))))
        })
    }
}

/// The cases that `h2spec` has run on `path`, and those that have failed, each by its section and its title.
fn cases(address: SocketAddr, path: &str) -> (usize, BTreeSet<(String, String)>) {
    let program = std::env::var_os("MESHWORK_TEST_H2SPEC");
    let program = program.expect("MESHWORK_TEST_H2SPEC is not set; run `cargo xtask test`, which installs h2spec");
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.xml");
    let mut child = Command::new(program)
        .args(["-h", "127.0.0.1", "-p", &address.port().to_string(), "-P", path, "-o", PATIENCE, "-j"])
        .arg(&report)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > BOUND {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("h2spec takes longer than {BOUND:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let report = std::fs::read_to_string(&report).unwrap();
    let attribute = |case: &str, name: &str| {
        let (_, value) = case.split_once(&format!(" {name}=\"")).unwrap();
        value.split_once('"').unwrap().0.to_owned()
    };
    let cases: Vec<_> = report.split("<testcase").skip(1).collect();
    let failed = cases
        .iter()
        .filter(|case| case.contains("<error>") || case.contains("<failure>"))
        .map(|case| (attribute(case, "package"), attribute(case, "classname")))
        .collect();
    (cases.len(), failed)
}

/// Runs `h2spec` on `path`: those in `always` fail, those in `sometimes` may, and no other.
async fn holds(path: &'static str, always: &[(&str, &str)], sometimes: &[(&str, &str)]) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(
        // Few at once: a method need not be slow for their number to be exceeded.
        Server::builder()
            .max_concurrent_streams(16)
            .add_service(Slow)
            .serve_with_shutdown(listener, std::future::pending()),
    );
    let (count, failed) = tokio::task::spawn_blocking(move || cases(address, path)).await.unwrap();
    server.abort();
    assert!(count > 100, "{count} cases");
    let is_in = |list: &[(&str, &str)], case: &(String, String)| list.contains(&(case.0.as_str(), case.1.as_str()));
    let unexpected: Vec<_> = failed.iter().filter(|case| !is_in(always, case) && !is_in(sometimes, case)).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    for case in always {
        let passed = !failed.iter().any(|failed| (failed.0.as_str(), failed.1.as_str()) == *case);
        assert!(!passed, "{case:?} is no exception any more: take it off the list");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2spec_finds_no_fault_in_a_method_that_takes_its_time() {
    holds(SLOW, &[], &[RESET]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2spec_finds_in_a_grpc_method_only_what_grpc_does_otherwise() {
    holds(CHECK, &TRAILERS_ONLY, &[RESET, QUICK]).await;
}
