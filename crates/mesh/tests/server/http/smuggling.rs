//! Requests that hide another one: who reads the first differently takes the second for what follows it. Each is answered
//! once, or its connection ends.

use meshwork::Server;
use tokio::io::AsyncWriteExt as _;

use super::{Client, serve};
use crate::support::{Running, UNARY, unary};

/// What is hidden: it would be answered with 404, and nothing else here is.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nhost: x\r\n\r\n";
/// What follows rightfully, and ends the connection.
const NEXT: &str = "GET /hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// The statuses of all answers to what is said on one connection, to its end.
async fn statuses(server: &Running, said: &str) -> Vec<u16> {
    let mut client = Client::new(server).await;
    // The server may have had enough before it has got all of it.
    let _ = client.io.write_all(said.as_bytes()).await;
    let mut statuses = Vec::new();
    while let Some((status, ..)) = client.answer().await {
        statuses.push(status);
    }
    assert!(client.read.is_empty(), "what follows is no answer: {:?}", String::from_utf8_lossy(&client.read));
    statuses
}

/// A request with a body, whose head has these lines besides.
fn post(headers: &str, body: &str) -> String {
    format!("POST /body HTTP/1.1\r\nhost: x\r\n{headers}\r\n{body}")
}

fn chunked(body: &str) -> String {
    post("transfer-encoding: chunked\r\n", body)
}

#[tokio::test(start_paused = true)]
async fn a_head_whose_end_or_length_is_in_doubt_ends_its_connection() {
    let server = serve(Server::builder());
    for (headers, status) in [
        // Chunks go before a length, and nothing behind them is believed (RFC 9112, section 6.3).
        ("content-length: 4\r\ntransfer-encoding: chunked\r\n", 200),
        ("transfer-encoding: chunked\r\ncontent-length: 4\r\n", 200),
        ("x: a\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n", 200),
        ("Transfer-Encoding : chunked\r\n", 400),
        ("Transfer-Encoding : chunked\r\ncontent-length: 5\r\n", 400),
        ("transfer-encoding: xchunked\r\n", 400),
        ("transfer-encoding: xchunked\r\ncontent-length: 5\r\n", 400),
        ("transfer-encoding: \u{b}chunked\r\n", 400),
        ("transfer-encoding: \"chunked\"\r\n", 400),
        ("transfer-encoding: chunked;q=1\r\n", 400),
        ("transfer-encoding: chunked, identity\r\n", 400),
        ("transfer-encoding: chunked, chunked\r\n", 501),
        ("transfer-encoding:\r\ncontent-length: 5\r\n", 400),
        ("transfer-encoding:\r\n chunked\r\n", 400),
        ("transfer-encoding: chunked\r\ntransfer-encoding: x\r\n", 400),
        ("transfer-encoding: x\r\ntransfer-encoding: chunked\r\n", 501),
        ("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", 501),
        ("content-length: 5\r\ncontent-length: 50\r\n", 400),
        ("content-length: 5, 5\r\n", 400),
        ("content-length: +5\r\n", 400),
        ("content-length: -5\r\n", 400),
        ("content-length: 0x5\r\n", 400),
        ("content-length: 5 5\r\n", 400),
        ("content-length:\r\n", 400),
        ("content-length : 5\r\n", 400),
        ("content-length: 18446744073709551621\r\n", 400),
        ("content-length: 18446744073709551615\r\n", 431),
        ("x: a\r\n b\r\ncontent-length: 5\r\n", 400),
        ("x: a\rtransfer-encoding: chunked\r\ncontent-length: 5\r\n", 400),
        ("x: a\0b\r\ncontent-length: 5\r\n", 400),
        ("x\0: a\r\ncontent-length: 5\r\n", 400),
        ("no colon\r\ncontent-length: 5\r\n", 400),
        ("host: y\r\ncontent-length: 5\r\n", 400),
    ] {
        let said = post(headers, &format!("0\r\n\r\n{HIDDEN}"));
        assert_eq!(statuses(&server, &said).await, [status], "{headers:?}");
    }
    // HTTP/1.0 has no chunks.
    let old = chunked(&format!("0\r\n\r\n{HIDDEN}")).replace("HTTP/1.1\r\nhost: x", "HTTP/1.0\r\nhost: x");
    assert_eq!(statuses(&server, &old).await[0], 400);
    assert_eq!(unary(&server.channel(), UNARY, "beside").await.unwrap(), "beside");
}

#[tokio::test(start_paused = true)]
async fn chunks_that_are_none_end_their_connection() {
    let server = serve(Server::builder());
    let long = "a".repeat(40_000);
    for body in [
        "2\n{}\n0\n\n",
        "2;a\nb\r\n{}\r\n0\r\n\r\n",
        "10000000000000002\r\n{}\r\n0\r\n\r\n",
        // It would take for ever, and is given up.
        "ffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
        "+2\r\n{}\r\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        " 2\r\n{}\r\n0\r\n\r\n",
        "\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}xx0\r\n\r\n",
        "1\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}\r\n0\r\nno colon\r\n\r\n",
        &format!("2;{long}\r\n{{}}\r\n0\r\n\r\n"),
        &format!("2\r\n{{}}\r\n0\r\nx: {long}\r\n\r\n"),
    ] {
        let answered = statuses(&server, &chunked(&format!("{body}{HIDDEN}"))).await;
        assert_eq!(answered, [400], "{}", &body[..body.len().min(60)]);
    }
    assert_eq!(unary(&server.channel(), UNARY, "beside").await.unwrap(), "beside");
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_no_request_ends_its_connection() {
    let server = serve(Server::builder());
    for (line, answered) in [
        ("GET  /hello HTTP/1.1", &[400][..]),
        ("GET /hello  HTTP/1.1", &[400]),
        ("GET /hello x HTTP/1.1", &[400]),
        ("GET /hello HTTP/1.1 ", &[400]),
        ("GET /hello HTTP/2.0", &[400]),
        ("GET /hello HTTP/1.2", &[400]),
        ("GET /hello http/1.1", &[400]),
        ("GET /hello", &[400]),
        ("GET /hel\0lo HTTP/1.1", &[400]),
        ("GET /hello HTTP/1.1\r\n x: y", &[400]),
        // A target that says a user is an error (RFC 9110, section 4.2.4).
        ("GET http://x@y/hello HTTP/1.1", &[400]),
        // These don't look like HTTP from the first byte on.
        ("GET\t/hello\tHTTP/1.1", &[]),
        (" GET /hello HTTP/1.1", &[]),
        ("get /hello HTTP/1.1", &[]),
    ] {
        assert_eq!(statuses(&server, &format!("{line}\r\nhost: x\r\n\r\n{HIDDEN}")).await, answered, "{line:?}");
    }
    assert_eq!(unary(&server.channel(), UNARY, "beside").await.unwrap(), "beside");
}

#[tokio::test(start_paused = true)]
async fn what_all_read_alike_is_answered_and_the_next_request_as_well() {
    let server = serve(Server::builder());
    for request in [
        chunked("2\r\n{}\r\n0\r\n\r\n"),
        post("transfer-encoding:\tchunked\t\r\n", "2\r\n{}\r\n0\r\n\r\n"),
        chunked("2;a=\"b\"\r\n{}\r\n0\r\n\r\n"),
        chunked("0000000000000002\r\n{}\r\n0\r\n\r\n"),
        // What stands behind the chunks is of no head: neither of this request nor of the next.
        chunked(
            "2\r\n{}\r\n0\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\nhost: y\r\nconnection: close\r\n\r\n",
        ),
        post("content-length: 2\r\ncontent-length: 2\r\n", "{}"),
        post("content-length: 0002\r\n", "{}"),
        post("transfer_encoding: chunked\r\ncontent-length: 2\r\n", "{}"),
        post("content-length: 2\r\n", "{}").replace("\r\n", "\n"),
        // The target says the host, whatever the field says (RFC 9112, section 3.2.2).
        "GET http://elsewhere/hello HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        "GET /hello HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n".to_owned(),
    ] {
        assert_eq!(statuses(&server, &format!("{request}{NEXT}")).await, [200, 200], "{request:?}");
    }
    // Nobody is connected to anything.
    let connect = format!("CONNECT x:443 HTTP/1.1\r\nhost: x:443\r\n\r\n{NEXT}");
    assert_eq!(statuses(&server, &connect).await, [404, 200]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_reads_is_no_request() {
    let server = serve(Server::builder());
    let length = HIDDEN.len();
    for method in ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "TRACE"] {
        let head = format!("{method} /hello HTTP/1.1\r\nhost: x\r\n");
        for request in [
            format!("{head}content-length: {length}\r\n\r\n{HIDDEN}"),
            format!("{head}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n"),
            format!("{head}expect: 100-continue\r\ncontent-length: {length}\r\n\r\n{HIDDEN}"),
        ] {
            let mut client = Client::new(&server).await;
            client.say(&request).await;
            let said = client.rest().await;
            let answered = said.matches("HTTP/1.1 ").count();
            assert!(answered == 1 && said.starts_with("HTTP/1.1 200"), "{request:?}: {said:?}");
        }
    }
}
