//! The connection against `h2spec`, which breaks the rules of RFC 7540 and RFC 7541 one by one.

use meshwork_testkit::h2spec;

use super::*;

/// So that it is the connection whose answers are seen, and not how quick a method is: streams are open when the second frame
/// of a case comes. The server's own run excepts such cases, and this one is the place where they have to pass.
const PAUSE: Duration = Duration::from_millis(50);

/// The server closes the connection, and what it had not read makes that a reset; this version of `h2spec` knows only the end
/// of a connection as closed.
const RESET: (&str, &str) = ("http2/3.5", "Sends invalid connection preface");

/// Reads the request to its end, takes its time, and answers with data whatever it was sent.
fn slow(request: Request<RequestBody>) -> Answering {
    Box::pin(async move {
        let _ = request.into_body().collect().await;
        tokio::time::sleep(PAUSE).await;
        (Response::new(frames(vec![Frame::data(Bytes::from_static(b"an answer"))])), Arc::default())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2spec_finds_no_fault_in_a_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                // Few at once: a method need not be slow for their number to be exceeded.
                let options = ServeOptions { max_concurrent_streams: 16, ..options() };
                ServerConnection::handshake(Box::new(stream), &options, Handler(slow)).await?.await
            });
        }
    });
    let run = tokio::task::spawn_blocking(move || h2spec::run(address, "/")).await.unwrap();
    server.abort();
    run.assert_failures(&[RESET]);
}
