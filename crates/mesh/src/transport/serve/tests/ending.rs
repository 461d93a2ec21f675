//! The ends of connections.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_graceful_end_waits_for_the_calls() {
    let state = Arc::default();
    let (body, sender) = streamed();
    let mut pair = pair(once(body, guard(&state))).await;
    let body = pair.call().await.await.unwrap().into_body();
    pair.shut_down.take().unwrap().send(()).unwrap();
    settle().await;
    assert!(!pair.server.is_finished());
    sender.send(Frame::data(Bytes::from_static(b"last"))).unwrap();
    drop(sender);
    assert_eq!(read(body).await.0, b"last");
    drop(pair.client);
    assert!(timeout(HOUR, pair.server).await.unwrap().unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_dropped_ends_its_calls() {
    let state = Arc::default();
    let (body, sender) = streamed();
    let mut pair = pair(once(body, guard(&state))).await;
    let _response = pair.call().await.await.unwrap();
    assert!(!sender.is_closed());
    pair.server.abort();
    settle().await;
    assert!(sender.is_closed());
    assert!(state.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_ends_the_connection_and_its_calls() {
    let state = Arc::default();
    let (here, there) = duplex(64 << 10);
    let (body, sender) = streamed();
    let (_shut_down, server) = serve(there, options(), once(body, guard(&state)));
    let (mut client, connection) = h2::client::handshake(here).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::post("http://shop/a/b").body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let _response = response.await.unwrap();
    connection.abort();
    let _ = timeout(HOUR, server).await.unwrap().unwrap();
    settle().await;
    assert!(sender.is_closed());
    assert!(state.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_given_up() {
    let (mut here, there) = duplex(64 << 10);
    let keep_alive = Some((Duration::from_secs(3), Duration::from_secs(2)));
    let options = ServeOptions { keep_alive, ..options() };
    let (_shut_down, server) = serve(there, options, at_once(|| message("hello"), &Arc::default()));
    // The preface, and SETTINGS of nothing.
    here.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let begun = tokio::time::Instant::now();
    let error = timeout(HOUR, server).await.unwrap().unwrap().unwrap_err();
    assert_eq!(begun.elapsed().as_secs(), 5);
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.to_string().contains("the client has been silent"), "{error}");
}

/// Speaks to a server until its FIN, and never ends itself; gives how long the server took then, with `after` done to it.
async fn lingering(linger: Duration, after: impl AsyncFnOnce(DuplexStream)) -> Duration {
    let (mut here, there) = duplex(64 << 10);
    let options = ServeOptions { linger, ..options() };
    let (_shut_down, server) = serve(there, options, at_once(|| message("hello"), &Arc::default()));
    // The preface, and then a frame that is no SETTINGS: DATA of stream 0 is an error of the connection.
    here.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0").await.unwrap();
    let mut read = Vec::new();
    timeout(HOUR, here.read_to_end(&mut read)).await.unwrap().unwrap();
    // Until FIN there was a GOAWAY.
    assert!(read.len() > 17);
    let begun = tokio::time::Instant::now();
    after(here).await;
    let _ = timeout(HOUR, server).await.unwrap().unwrap();
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn s7_after_its_end_a_connection_reads_until_the_client_has_ended() {
    let took = lingering(Duration::from_secs(10), async |mut here: DuplexStream| {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            here.write_all(&[0; 5000]).await.unwrap();
        }
    })
    .await;
    assert_eq!(took.as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn s7_a_client_that_never_ends_is_lingered_for_so_long_only() {
    let kept = std::cell::Cell::new(None);
    let took = lingering(Duration::from_secs(10), async |here: DuplexStream| kept.set(Some(here))).await;
    assert_eq!(took.as_secs(), 10);
}
