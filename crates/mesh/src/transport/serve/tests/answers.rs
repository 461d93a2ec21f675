//! Answers of all kinds.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_unary_answer_has_head_data_and_trailers() {
    let state = Arc::default();
    let mut pair = pair(at_once(|| message("hello"), &state)).await;
    let response = pair.call().await.await.unwrap();
    assert!(code(response.headers()).is_none());
    let (bytes, trailers) = read(response.into_body()).await;
    assert_eq!(bytes, b"hello");
    assert_eq!(code(&trailers.unwrap()), Some("0"));
    settle().await;
    assert!(state.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn trailers_without_data_are_one_frame_with_the_head() {
    let state = Arc::default();
    let mut pair = pair(at_once(|| frames(vec![Frame::trailers(trailers(5))]), &state)).await;
    let response = pair.call().await.await.unwrap();
    assert_eq!(code(response.headers()), Some("5"));
    assert!(response.body().is_end_stream());
    assert!(state.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn metadata_of_a_head_does_not_become_trailers() {
    let state = Arc::<ProbeState>::default();
    let answering = Arc::clone(&state);
    let answer = move |_: Request<RequestBody>| -> Answering {
        let mut response = Response::new(frames(vec![Frame::trailers(trailers(5))]));
        response.headers_mut().insert("x-begun", http::HeaderValue::from_static("yes"));
        Box::pin(std::future::ready((response, guard(&answering))))
    };
    let mut pair = pair(answer).await;
    let response = pair.call().await.await.unwrap();
    assert!(response.headers().contains_key("x-begun") && code(response.headers()).is_none());
    let (bytes, trailers) = read(response.into_body()).await;
    assert!(bytes.is_empty());
    assert_eq!(code(&trailers.unwrap()), Some("5"));
    settle().await;
    assert!(state.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_nothing_ends_with_its_head() {
    let state = Arc::default();
    let mut pair = pair(at_once(|| frames(Vec::new()), &state)).await;
    assert!(pair.call().await.await.unwrap().body().is_end_stream());
    assert!(state.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn data_without_trailers_ends_the_stream() {
    let state = Arc::default();
    let mut pair = pair(at_once(|| frames(vec![Frame::data(Bytes::from_static(b"plain"))]), &state)).await;
    let (bytes, trailers) = read(pair.call().await.await.unwrap().into_body()).await;
    assert_eq!((bytes.as_slice(), trailers), (&b"plain"[..], None));
}

#[tokio::test(start_paused = true)]
async fn a_stream_brings_its_messages_as_they_come() {
    let state = Arc::default();
    let (body, sender) = streamed();
    let mut pair = pair(once(body, guard(&state))).await;
    let mut body = pair.call().await.await.unwrap().into_body();
    for message in ["one", "two"] {
        sender.send(Frame::data(Bytes::from_static(message.as_bytes()))).unwrap();
        assert_eq!(timeout(HOUR, body.data()).await.unwrap().unwrap().unwrap(), message);
        assert!(!state.is_dropped());
    }
    sender.send(Frame::trailers(trailers(0))).unwrap();
    let (bytes, trailers) = read(body).await;
    assert!(bytes.is_empty());
    assert_eq!(code(&trailers.unwrap()), Some("0"));
    settle().await;
    assert!(state.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_keeps_no_other_from_its_answer() {
    let state: Arc<ProbeState> = Arc::default();
    let waits = Arc::new(AtomicBool::new(true));
    let of = Arc::clone(&state);
    let mut pair = pair(move |_| {
        let (waits, guard) = (waits.swap(false, Ordering::SeqCst), guard(&of));
        Box::pin(async move {
            if waits {
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            (Response::new(message(if waits { "late" } else { "early" })), guard)
        })
    })
    .await;
    let (late, early) = (pair.call().await, pair.call().await);
    let begun = tokio::time::Instant::now();
    assert_eq!(read(early.await.unwrap().into_body()).await.0, b"early");
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(read(late.await.unwrap().into_body()).await.0, b"late");
}

#[tokio::test(start_paused = true)]
async fn calls_that_take_long_do_not_hold_up_the_round() {
    let state = Arc::default();
    let slow = || {
        std::thread::sleep(Duration::from_millis(1));
        message("slow")
    };
    let mut pair = pair(at_once(slow, &state)).await;
    let mut calls = Vec::new();
    for _ in 0..20 {
        calls.push(pair.call().await);
    }
    for call in calls {
        assert_eq!(read(call.await.unwrap().into_body()).await.0, b"slow");
    }
}

#[tokio::test(start_paused = true)]
async fn many_calls_one_by_one_and_together_are_all_answered() {
    let state = Arc::default();
    let mut pair = pair(at_once(|| message("hello"), &state)).await;
    for together in [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 50, 1, 90, 2] {
        let mut calls = Vec::new();
        for _ in 0..together {
            calls.push(pair.call().await);
        }
        for call in calls {
            assert_eq!(read(timeout(HOUR, call).await.unwrap().unwrap().into_body()).await.0, b"hello");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_panics_ends_alone() {
    let first = AtomicBool::new(true);
    let state: Arc<ProbeState> = Arc::default();
    let mut pair = pair(move |_| {
        assert!(!first.swap(false, Ordering::SeqCst), "the first call fails");
        Box::pin(std::future::ready((Response::new(message("hello")), guard(&state))))
    })
    .await;
    assert!(timeout(HOUR, pair.call().await).await.unwrap().is_err());
    assert_eq!(read(pair.call().await.await.unwrap().into_body()).await.0, b"hello");
}
