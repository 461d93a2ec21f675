//! Last words to peers that are not served, so that they know why, and lose nothing of it to a reset.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::observer::RefusedConnection;
use super::opening::{Protocol, read_first};
use crate::transport::Io;

/// How long a peer may take to read them.
const BOUND: Duration = Duration::from_secs(1);

/// How many connections that were not admitted are told so at once; more are just closed.
const AT_ONCE: usize = 64;

/// An empty SETTINGS frame, which is the preface of a server (RFC 9113, section 3.4).
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
/// The type of a GOAWAY frame.
const GOAWAY: u8 = 7;
/// The error code of who is to try less (RFC 9113, section 7).
const ENHANCE_YOUR_CALM: u32 = 11;

/// The answer to HTTP/1 where nobody takes it.
pub(super) const NOT_HTTP1: &[u8] = b"HTTP/1.1 505 HTTP Version Not Supported\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    content-length: 68\r\n\
    connection: close\r\n\
    \r\n\
    This port speaks gRPC over HTTP/2 (with prior knowledge, RFC 9113).\n";

/// Tells connections that are too many that they are. Clones share their places.
#[derive(Clone)]
pub(super) struct Goodbyes {
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    stopping: CancellationToken,
    /// Whether peers may speak HTTP/1.1, so that it has to be seen first what they speak.
    with_http1: bool,
}

impl Goodbyes {
    /// They are said in `tasks`, until the server is `stopping`.
    pub(super) fn new(tasks: TaskTracker, stopping: CancellationToken) -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)), tasks, stopping, with_http1: false }
    }

    /// Whether the port serves HTTP/1.1 as well; it doesn't when it isn't said.
    pub(super) fn with_http1(self, with_http1: bool) -> Self {
        Self { with_http1, ..self }
    }

    /// Says SETTINGS and GOAWAY(ENHANCE_YOUR_CALM), with the reason for people, or 503 to who speaks HTTP/1.1, and closes
    /// the connection.
    pub(super) fn refuse(&self, io: Box<dyn Io>, why: RefusedConnection) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        let (stopping, with_http1) = (self.stopping.clone(), self.with_http1);
        self.tasks.spawn(async move {
            stopping.run_until_cancelled(tell(io, with_http1, why)).await;
            drop(place);
        });
    }
}

/// Tells a peer, in the protocol that it speaks, why it isn't served.
async fn tell(mut io: Box<dyn Io>, with_http1: bool, why: RefusedConnection) {
    let reason = match why {
        RefusedConnection::TooManyOfAddress => "the server has as many connections of this address as it may have",
        _ => "the server has as many connections as it may have",
    };
    if !with_http1 {
        return send_and_close(io, &go_away(reason)).await;
    }
    let first = timeout(BOUND, read_first(&mut io)).await;
    match first {
        Ok(Ok((Protocol::Http2, _))) => send_and_close(io, &go_away(reason)).await,
        Ok(Ok((Protocol::Http1, _))) => send_and_close(io, &unavailable(reason)).await,
        // What it would understand isn't known.
        _ => {}
    }
}

fn unavailable(reason: &str) -> Vec<u8> {
    let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n";
    format!("{head}content-length: {}\r\n\r\n{reason}\n", reason.len() + 1).into_bytes()
}

fn go_away(reason: &str) -> Vec<u8> {
    // No stream was looked at: each call can be made elsewhere.
    let payload = [&0_u32.to_be_bytes()[..], &ENHANCE_YOUR_CALM.to_be_bytes(), reason.as_bytes()].concat();
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    [&SETTINGS[..], &length, &[GOAWAY, 0], &0_u32.to_be_bytes(), &payload].concat()
}

/// Sends `bytes` and closes the connection: what the peer still sends is read and dropped until it closes its side as
/// well, as bytes that nobody reads make a close a reset, which takes them along. All of it is bounded.
pub(super) async fn send_and_close(mut io: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) {
    let sent = async {
        io.write_all(bytes).await?;
        io.shutdown().await?;
        let mut rest = vec![0; 1024];
        while io.read(&mut rest).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    if let Ok(Err(error)) = timeout(BOUND, sent).await {
        tracing::debug!(%error, "a peer that is not served has not heard why");
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_refused_reads_why_in_http_2() {
        let (client, server) = duplex(4096);
        let (tasks, stopping) = (TaskTracker::new(), CancellationToken::new());
        Goodbyes::new(tasks.clone(), stopping).refuse(Box::new(server), RefusedConnection::TooManyOfAddress);
        let (mut calls, connection) = h2::client::handshake(client).await.unwrap();
        let driver = tokio::spawn(connection);
        let refused = match calls.send_request(http::Request::get("http://server/").body(()).unwrap(), true) {
            Ok((answer, _)) => answer.await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(refused.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM), "{refused}");
        drop(calls);
        let ended = driver.await.unwrap().unwrap_err();
        assert!(ended.to_string().contains("as many connections of this address"), "{ended}");
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test(start_paused = true)]
    async fn where_http_1_1_is_served_each_is_told_in_its_own_protocol() {
        for (said, told) in [
            ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", &b"HTTP/1.1 503 Service Unavailable\r\n"[..]),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &SETTINGS[..]),
            ("hello\r\n and more of what is none", &b""[..]),
            ("", &b""[..]),
        ] {
            let (mut client, server) = duplex(4096);
            let (tasks, stopping) = (TaskTracker::new(), CancellationToken::new());
            let goodbyes = Goodbyes::new(tasks.clone(), stopping).with_http1(true);
            client.write_all(said.as_bytes()).await.unwrap();
            let began = Instant::now();
            goodbyes.refuse(Box::new(server), RefusedConnection::TooMany);
            let mut read = Vec::new();
            client.read_to_end(&mut read).await.unwrap();
            assert!(read.starts_with(told) && read.is_empty() == told.is_empty(), "{said}: {read:?}");
            drop(client);
            tasks.close();
            tasks.wait().await;
            assert!(began.elapsed() <= BOUND, "{said}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_waited_for_a_second_and_never_by_more_than_a_few_tasks() {
        let (tasks, stopping) = (TaskTracker::new(), CancellationToken::new());
        let goodbyes = Goodbyes::new(tasks.clone(), stopping);
        let began = Instant::now();
        let clients: Vec<_> = (0..2 * AT_ONCE)
            .map(|_| {
                let (client, server) = duplex(8);
                goodbyes.refuse(Box::new(server), RefusedConnection::TooMany);
                client
            })
            .collect();
        assert_eq!(tasks.len(), AT_ONCE);
        tasks.close();
        tasks.wait().await;
        assert_eq!(began.elapsed(), BOUND);
        drop(clients);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_no_goodbye() {
        let (_client, server) = duplex(8);
        let (tasks, stopping) = (TaskTracker::new(), CancellationToken::new());
        Goodbyes::new(tasks.clone(), stopping.clone()).refuse(Box::new(server), RefusedConnection::TooMany);
        let began = Instant::now();
        tokio::task::yield_now().await;
        stopping.cancel();
        tasks.close();
        tasks.wait().await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[test]
    fn the_answer_to_http_1_is_as_long_as_it_says() {
        let text = std::str::from_utf8(NOT_HTTP1).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
    }
}
