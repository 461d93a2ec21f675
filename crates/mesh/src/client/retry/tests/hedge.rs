use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};

use super::support::*;
use crate::outcome::grpc_status;

#[tokio::test(start_paused = true)]
async fn a6_hedges_follow_at_the_hedging_delay() {
    let script = Script::new([(1000, End::Headers), (1000, End::Headers), (10, End::Headers)]);
    script.call(hedge(4, 100)).await.unwrap();
    assert_eq!(script.times(), [0, 100, 200]);
    assert_eq!(script.previous(), [None, Some("1".to_owned()), Some("2".to_owned())]);
    assert_eq!(script.live.load(Ordering::SeqCst), 0, "the others are cancelled");
}

#[tokio::test(start_paused = true)]
async fn a6_a_hedging_delay_of_zero_sends_all_at_once() {
    let script = Script::new([(50, End::Headers), (50, End::Headers), (50, End::Headers)]);
    script.call(hedge(3, 0)).await.unwrap();
    assert_eq!(script.times(), [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a6_a_non_fatal_failure_sends_the_next_hedge_at_once() {
    let script = Script::new([(10, failed()), (1000, End::Headers), (1000, End::Headers)]);
    script.call(hedge(3, 100)).await.unwrap();
    assert_eq!(script.times(), [0, 10, 110]);
}

#[tokio::test(start_paused = true)]
async fn a6_a_fatal_status_cancels_the_others() {
    let script = Script::new([(1000, End::Headers), (10, End::Trailers(Code::NotFound, vec![]))]);
    let response = script.call(hedge(3, 100)).await.unwrap();
    assert_eq!(grpc_status(response.headers()), Some(Code::NotFound));
    assert_eq!(script.live.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a6_when_all_hedges_failed_there_are_no_retries_on_top() {
    let script = Script::new((0..9).map(|_| (10, failed())));
    script.call(hedge(3, 100)).await.unwrap();
    assert_eq!(script.times(), [0, 10, 20]);
}

#[tokio::test(start_paused = true)]
async fn a6_pushback_puts_off_the_next_hedge_and_those_after_it() {
    let script = Script::new([(10, pushed("500")), (900, End::Headers), (900, End::Headers)]);
    script.call(hedge(3, 100)).await.unwrap();
    assert_eq!(script.times(), [0, 510, 610]);
}

#[tokio::test(start_paused = true)]
async fn a6_do_not_retry_stops_hedges_but_not_those_under_way() {
    let script = Script::new([(500, End::Headers), (10, pushed("-1"))]);
    let response = script.call(hedge(5, 100)).await.unwrap();
    assert_eq!(grpc_status(response.headers()), None);
    assert_eq!(script.times(), [0, 100]);
}

#[tokio::test(start_paused = true)]
async fn a6_a_disallowed_hedge_is_dropped_and_the_failure_returns() {
    let start = Instant::now();
    let script = Script::new([(10, failed()), (10, failed())]);
    let mut plan = hedge(5, 100);
    plan.throttle = Some(throttle(2));
    let response = script.call(plan).await.unwrap();
    assert_eq!(grpc_status(response.headers()), Some(Code::Unavailable));
    assert_eq!((script.times(), start.elapsed()), (vec![0], Duration::from_millis(10)));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_cancels_all_its_hedges() {
    let script = Script::new((0..3).map(|_| (1000, End::Headers)));
    tokio::time::timeout(Duration::from_millis(50), script.call(hedge(3, 0))).await.unwrap_err();
    assert_eq!((script.times().len(), script.live.load(Ordering::SeqCst)), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a6_a_hedge_disallowed_after_a_pushback_returns_the_failure() {
    let script = Script::new([(10, pushed("500"))]);
    let mut plan = hedge(3, 100);
    plan.throttle = Some(throttle(2));
    let response = script.call(plan).await.unwrap();
    assert_eq!(grpc_status(response.headers()), Some(Code::Unavailable));
}

/// The attempt that takes what is too large to be kept is the only one that can send all of the request. Should it fail before
/// the others are cancelled for that, they would wait for the rest for ever.
#[tokio::test(start_paused = true)]
async fn a6_the_failure_of_the_attempt_that_the_call_is_committed_to_ends_the_call() {
    for attempts in [2, 3] {
        let script = Script::new((0..attempts).map(|_| (0, failed())));
        let mut plan = hedge(attempts, 0);
        plan.buffers = small(4);
        let (sender, frames) = tokio::sync::mpsc::unbounded_channel();
        let body = Body::new(StreamBody::new(tokio_stream::wrappers::UnboundedReceiverStream::new(frames)));
        tokio::spawn(async move {
            // All attempts are under way by then.
            tokio::time::sleep(Duration::from_millis(50)).await;
            sender.send(Ok::<_, Status>(Frame::data(Bytes::from_static(b"more than is kept")))).unwrap();
        });
        let call = tokio::time::timeout(Duration::from_secs(1), script.call_with(plan, body));
        let response = call.await.expect("it does not wait for the others").unwrap();
        assert_eq!(grpc_status(response.headers()), Some(Code::Unavailable));
        assert_eq!((script.times(), script.live.load(Ordering::SeqCst)), (vec![0; attempts as usize], 0));
    }
}
