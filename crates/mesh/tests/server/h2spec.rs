//! The server against `h2spec`, which breaks the rules of RFC 7540 and RFC 7541 one by one.

use meshwork::Server;
use meshwork_testkit::h2spec;

/// A method as services have it.
const CHECK: &str = "/grpc.health.v1.Health/Check";

/// The server closes the connection, and what it had not read makes that a reset; this version of `h2spec` knows only the end
/// of a connection as closed.
const RESET: (&str, &str) = ("http2/3.5", "Sends invalid connection preface");
/// What is no request of gRPC is answered at once (S14), and its stream is over with that: what the client sends there afterwards
/// is ignored, as it may have been on its way. So cases may fail whose second frame is about a stream that is still open. The
/// connection's own tests, whose answers take their time, except none of them. These are whole sections:
/// * 5.1: frames that the state of an open or half-closed stream doesn't allow;
/// * 5.1.2: more streams at once than are allowed, which have to be open together;
/// * 6.9.1: WINDOW_UPDATEs that make the window of an open stream too large;
/// * 8.1.2.6: DATA that a content-length in the HEADERS before doesn't announce.
const OPEN_STREAM: [&str; 4] = ["http2/5.1", "http2/5.1.2", "http2/6.9.1", "http2/8.1.2.6"];
/// As [`OPEN_STREAM`]: these send HEADERS that open a stream, and others after them.
const OPEN_STREAM_CASES: [(&str, &str); 2] = [
    ("http2/8.1", "Sends a second HEADERS frame without the END_STREAM flag"),
    ("http2/8.1.2.1", "Sends a HEADERS frame that contains a pseudo-header field as trailers"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2spec_finds_no_fault_in_a_server() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().max_concurrent_streams(16).serve_with_shutdown(listener, std::future::pending());
    let server = tokio::spawn(server);
    let run = tokio::task::spawn_blocking(move || h2spec::run(address, CHECK)).await.unwrap();
    server.abort();
    let [headers, trailers] = OPEN_STREAM_CASES;
    run.assert_failures_within(&OPEN_STREAM, &[RESET, headers, trailers]);
}
