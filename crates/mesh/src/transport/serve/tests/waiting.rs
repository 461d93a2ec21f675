//! Answers that wait for their client.

use super::*;

/// A client with windows of 1000 bytes.
fn narrow() -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1000);
    builder
}

#[tokio::test(start_paused = true)]
async fn s7_the_guard_is_held_until_the_window_lets_the_last_byte_through() {
    let state = Arc::default();
    let mut pair = pair_with(&narrow(), options(), at_once(|| message(vec![7_u8; 1500]), &state)).await;
    let mut body = pair.call().await.await.unwrap().into_body();
    settle().await;
    assert!(!state.is_dropped());
    assert_eq!(state.unread(), 500);

    let first = body.data().await.unwrap().unwrap();
    body.flow_control().release_capacity(first.len()).unwrap();
    let (rest, trailers) = read(body).await;
    assert_eq!(first.len() + rest.len(), 1500);
    assert_eq!(code(&trailers.unwrap()), Some("0"));
    settle().await;
    assert!(state.is_dropped());
    assert_eq!(state.unread(), 0);
}

#[tokio::test(start_paused = true)]
async fn s7_more_unread_bytes_than_may_wait_end_the_answer() {
    let state: Arc<ProbeState> = Arc::default();
    let probe = Arc::new(Probe { state: Arc::clone(&state), limit: 400 });
    let mut pair = pair_with(&narrow(), options(), once(message(vec![7_u8; 1500]), probe)).await;
    let (bytes, trailers) = read(pair.call().await.await.unwrap().into_body()).await;
    assert_eq!(bytes.len(), 1000);
    assert_eq!(code(&trailers.unwrap()), Some("8"));
    settle().await;
    assert!(state.is_dropped());
    assert_eq!(state.unread(), 0);
}

#[tokio::test(start_paused = true)]
async fn s7_an_answer_that_nobody_reads_ends_after_the_stall_limit() {
    let state = Arc::default();
    let mut pair = pair_with(&narrow(), options(), at_once(|| message(vec![7_u8; 5000]), &state)).await;
    let mut body = pair.call().await.await.unwrap().into_body();
    // Each byte that there is room for gives it the whole time again.
    for _ in 0..3 {
        tokio::time::sleep(STALL.mul_f64(0.9)).await;
        assert!(!state.is_dropped());
        body.data().await.unwrap().unwrap();
        body.flow_control().release_capacity(1000).unwrap();
        settle().await;
    }
    assert_eq!(state.unread(), 1000);
    tokio::time::sleep(STALL.mul_f64(1.1)).await;
    settle().await;
    let (_, trailers) = read(body).await;
    assert_eq!(code(&trailers.unwrap()), Some("8"));
    settle().await;
    assert!(state.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn a_large_answer_passes_a_small_send_buffer() {
    let state = Arc::default();
    let options = ServeOptions { send_buffer: 100, ..options() };
    let mut pair =
        pair_with(&h2::client::Builder::new(), options, at_once(|| message(vec![7_u8; 20_000]), &state)).await;
    let (bytes, trailers) = read(pair.call().await.await.unwrap().into_body()).await;
    assert_eq!(bytes.len(), 20_000);
    assert_eq!(code(&trailers.unwrap()), Some("0"));
}

#[tokio::test(start_paused = true)]
async fn a_reset_drops_an_answer_that_waits() {
    let state = Arc::default();
    let mut pair = pair_with(&narrow(), options(), at_once(|| message(vec![7_u8; 1500]), &state)).await;
    let response = pair.call().await.await.unwrap();
    settle().await;
    assert!(!state.is_dropped());
    drop(response);
    settle().await;
    assert!(state.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn a_reset_drops_a_stream_that_has_nothing_to_say() {
    let state = Arc::default();
    let (body, sender) = streamed();
    let mut pair = pair(once(body, guard(&state))).await;
    let response = pair.call().await.await.unwrap();
    drop(response);
    settle().await;
    assert!(state.is_dropped());
    assert!(sender.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_reset_drops_a_call_without_an_answer() {
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let mut pair = pair(move |_| {
        let held = Arc::clone(&held);
        Box::pin(async move {
            let _held = held;
            std::future::pending().await
        })
    })
    .await;
    let call = pair.call().await;
    settle().await;
    assert_eq!(Arc::strong_count(&alive), 3);
    drop(call);
    settle().await;
    assert_eq!(Arc::strong_count(&alive), 2);
}
