//! Who takes HTTP/1.1 on the port of a gRPC server; what others are told is in `opening`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use meshwork::Server;
use meshwork::server::{Drain, Http1, Http1Connection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::support::{Running, UNARY, unary};

const REQUEST: &[u8] = b"GET /livez HTTP/1.1\r\nhost: server\r\n\r\n";

/// Answers one request, and says when the server stops.
struct Taker;

impl Http1 for Taker {
    fn serve(&self, connection: Http1Connection) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Http1Connection { mut io, stopping, .. } = connection;
            let mut request = vec![0; REQUEST.len()];
            io.read_exact(&mut request).await.unwrap();
            assert_eq!(request, REQUEST, "from the first byte on");
            io.write_all(b"alive").await.unwrap();
            stopping.cancelled().await;
            io.write_all(b", and stopping").await.unwrap();
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_taker_gets_the_connection_from_its_first_byte_to_the_end_of_the_server() {
    let drain = Drain { delay: Duration::ZERO, ..Drain::default() };
    let server = Running::start(Server::builder().drain(drain).http1(Arc::new(Taker)));
    let mut io = server.connect().await;
    for piece in REQUEST.chunks(10) {
        io.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut answer = [0; 5];
    io.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"alive");
    assert_eq!(unary(&server.channel(), UNARY, "beside").await.unwrap(), "beside");
    let begin = Instant::now();
    server.stop();
    let mut rest = String::new();
    io.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, ", and stopping");
    server.ended().await;
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}
