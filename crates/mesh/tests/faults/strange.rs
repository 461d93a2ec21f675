//! Peers that are no gRPC servers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use meshwork::{Builder, Channel};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tonic::Code;

use crate::load::{Load, bounded, channel, explained, policy, status, unary, until};
use crate::process::Server;

/// A peer that sends `greeting` to each connection and then keeps it; how many it had.
async fn peer(address: SocketAddr, greeting: &'static [u8]) -> Arc<AtomicUsize> {
    let listener = TcpListener::bind(address).await.unwrap();
    let had = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&had);
    tokio::spawn(async move {
        let mut connections = Vec::new();
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            let _ = socket.write_all(greeting).await;
            connections.push(socket);
        }
    });
    had
}

/// Beside two servers the peer costs nothing; alone, calls fail with its address and `why`.
fn is_of_no_use(greeting: &'static [u8], builder: fn() -> Builder, why: &str) {
    bounded(async {
        let strange = Server::stopped();
        let had = peer(strange.address, greeting).await;
        let servers = [Server::start(), Server::start()];
        let (both, picks) = channel(builder(), policy(), &[&strange, &servers[0], &servers[1]]);
        let load = Load::on(&both);
        until("the peer is given up", || status(&both, &strange).is_some_and(|status| status.error.is_some())).await;
        load.more(100).await;
        assert_eq!(picks.of(&strange), 0);
        assert!(load.answered_by(&servers[0]) > 0 && load.answered_by(&servers[1]) > 0);
        load.end_without_failure().await;

        let (only, _) = channel(builder(), policy(), &[&strange]);
        let status = unary(&only).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{}", explained(&status));
        assert!(status.message().contains(&strange.name()), "{}", explained(&status));
        assert!(status.message().contains(why), "{}", explained(&status));
        // No hail of connections: there is a backoff.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let connections = had.load(Ordering::SeqCst);
        assert!((2..=10).contains(&connections), "{connections} connections");
    });
}

#[test]
fn a_peer_that_does_not_speak_http2_is_never_picked() {
    is_of_no_use(b"SSH-2.0-OpenSSH_9.9\r\n", Channel::builder, "HTTP/2");
}

#[test]
fn a_peer_that_answers_in_http1_is_never_picked() {
    is_of_no_use(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n", Channel::builder, "HTTP/2");
}

#[test]
fn a_peer_that_accepts_and_never_speaks_is_given_up_after_the_connect_timeout() {
    is_of_no_use(b"", || Channel::builder().connect_timeout(Duration::from_millis(300)), "300ms");
}
