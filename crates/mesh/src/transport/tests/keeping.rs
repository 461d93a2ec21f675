//! Keepalive (gRFC A8).

use super::*;

fn options(while_idle: bool) -> Http2Options {
    Http2Options {
        keep_alive_interval: Some(Duration::from_secs(30)),
        keep_alive_while_idle: while_idle,
        ..Http2Options::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a8_a_connection_that_stays_silent_past_the_timeout_is_closed_with_its_streams() {
    let mut pair = pair_with(&options(false), 100).await;
    let (exchange, _respond) = pair.call().await;
    pair.network.freeze("server");
    let waiting = tokio::spawn(exchange);
    // 30 s of silence and 20 s for an answer.
    tokio::time::sleep(Duration::from_secs(49)).await;
    assert!(pair.connection.is_live());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!pair.connection.is_live());
    let error = pair.driver.await.unwrap().error.unwrap();
    assert!(error.to_string().contains("keepalive"), "{error}");
    assert_eq!(failure(waiting.await.unwrap()).code(), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a8_a_pong_is_a_sign_of_life() {
    let mut pair = pair_with(&options(false), 100).await;
    let (_exchange, _respond) = pair.call().await;
    pair.pass(24 * HOUR / 25).await;
    assert!(pair.connection.is_live());
    // And asked again after it: the silence is seen within interval and timeout.
    pair.network.freeze("server");
    tokio::time::sleep(Duration::from_secs(51)).await;
    assert!(!pair.connection.is_live());
}

#[tokio::test(start_paused = true)]
async fn a8_there_are_no_pings_without_calls_unless_allowed() {
    let pair = pair_with(&options(false), 100).await;
    pair.network.freeze("server");
    tokio::time::sleep(HOUR).await;
    assert!(pair.connection.is_live());

    let pair = pair_with(&options(true), 100).await;
    pair.network.freeze("server");
    tokio::time::sleep(Duration::from_secs(51)).await;
    assert!(!pair.connection.is_live());
}

#[tokio::test(start_paused = true)]
async fn a8_the_interval_is_at_least_ten_seconds_and_infinite_by_default() {
    let short = Http2Options { keep_alive_interval: Some(Duration::from_millis(1)), ..options(true) };
    let pair = pair_with(&short, 100).await;
    pair.network.freeze("server");
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert!(pair.connection.is_live());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!pair.connection.is_live());

    let mut pair = super::pair().await;
    let (_exchange, _respond) = pair.call().await;
    pair.network.freeze("server");
    tokio::time::sleep(24 * HOUR).await;
    assert!(pair.connection.is_live());
}

#[tokio::test(start_paused = true)]
async fn a8_too_many_pings_is_told_to_the_owner_of_the_driver() {
    let (_network, mut listener, io) = wire().await;
    let mut peer = listener.accept().await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut peer, &[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    let (_connection, driver) = handshake(io).await.unwrap();
    // GOAWAY, ENHANCE_YOUR_CALM, with debug data.
    let mut goaway = vec![0, 0, 22, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0b];
    goaway.extend_from_slice(b"too_many_pings");
    tokio::io::AsyncWriteExt::write_all(&mut peer, &goaway).await.unwrap();
    let closed = timeout(HOUR, driver).await.unwrap();
    let error = closed.error.unwrap();
    assert!(error.to_string().contains("too_many_pings"), "{error}");
}
