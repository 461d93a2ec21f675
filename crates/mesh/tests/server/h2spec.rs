//! The server against `h2spec`, which breaks the rules of RFC 7540 and RFC 7541 one by one.

use meshwork::Server;
use meshwork_testkit::h2spec;

/// A method as services have it.
const CHECK: &str = "/grpc.health.v1.Health/Check";

/// The server closes the connection, and what it had not read makes that a reset; this version of `h2spec` knows only the end
/// of a connection as closed.
const RESET: (&str, &str) = ("http2/3.5", "Sends invalid connection preface");
/// What is no request of gRPC is answered at once, so that a stream may be over before the second frame comes that such a case is
/// about: states of streams, how many there are at once, and their windows. The connection's own tests have these cases too, with
/// answers that take their time.
const OVER_BY_THEN: [&str; 3] = ["http2/5.1", "http2/5.1.2", "http2/6.9.1"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2spec_finds_no_fault_in_a_server() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().max_concurrent_streams(16).serve_with_shutdown(listener, std::future::pending());
    let server = tokio::spawn(server);
    let run = tokio::task::spawn_blocking(move || h2spec::run(address, CHECK)).await.unwrap();
    server.abort();
    run.assert_failures_within(&OVER_BY_THEN, &[RESET]);
}
