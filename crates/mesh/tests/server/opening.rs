//! The first bytes of connections.

use std::time::Duration;

use meshwork::Server;
use meshwork::connect::{Connector as _, Memory};
use meshwork::endpoint::Address;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep};

use crate::support::{NAME, Running, UNARY, unary};

/// The preface of HTTP/2, and an empty SETTINGS frame (RFC 9113, sections 3.4 and 6.5).
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// What the server says, to the end of the connection, to who says `said`.
async fn answer(network: &Memory, said: &[u8]) -> Vec<u8> {
    let mut io = network.connect(&Address::Named(NAME.into())).await.unwrap();
    io.write_all(said).await.unwrap();
    let mut answer = Vec::new();
    let _ = io.read_to_end(&mut answer).await;
    answer
}

#[tokio::test(start_paused = true)]
async fn who_speaks_http_1_reads_what_the_port_speaks() {
    let server = Running::start(Server::builder());
    for request in ["GET / HTTP/1.1\r\nhost: x\r\n\r\n", "POST /test.Echo/Unary HTTP/1.0\r\n\r\n"] {
        let began = Instant::now();
        let answer = String::from_utf8(answer(&server.network, request.as_bytes()).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 505 HTTP Version Not Supported\r\n"), "{answer}");
        assert!(answer.contains("connection: close") && answer.contains("gRPC over HTTP/2"), "{answer}");
        assert!(began.elapsed() <= Duration::from_secs(1), "{:?}", began.elapsed());
    }
    assert_eq!(unary(&server.channel(), UNARY, "x").await.unwrap(), "x");
}

#[tokio::test(start_paused = true)]
async fn who_speaks_neither_is_closed_without_a_word() {
    let server = Running::start(Server::builder());
    for said in [&b"\x16\x03\x01\x02\0\x01\0"[..], b"PRI * HTTP/1.1\r\n\r\n", b"hello\r\n", b"\0\0\0\x04\0\0\0\0\0"] {
        let began = Instant::now();
        assert!(answer(&server.network, said).await.is_empty());
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn a_preface_in_pieces_is_one() {
    let server = Running::start(Server::builder());
    let mut io = server.network.connect(&Address::Named(NAME.into())).await.unwrap();
    for byte in GREETING {
        io.write_all(&[*byte]).await.unwrap();
        sleep(Duration::from_millis(10)).await;
    }
    // The server's SETTINGS.
    let mut head = [0; 9];
    io.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4);
}
