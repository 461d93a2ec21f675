use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use tokio::time::Instant;
use tonic::Code;
use tonic::body::Body;

use super::support::*;
use crate::client::retry::{Budget, backoff};
use crate::outcome::grpc_status;
use crate::policy::{Repeat, RetryBudget};
use crate::random::Random;
use crate::transport::Fate;

#[test]
fn a6_jitter_is_applied_after_the_cap() {
    let policy = policy(5);
    let random = Random::seeded(1);
    let delays: Vec<_> = (0..1000).map(|_| backoff::delay(&policy, 10, &random)).collect();
    assert!(delays.iter().all(|delay| (800..1200).contains(&delay.as_millis())));
    assert!(delays.iter().any(|delay| *delay > Duration::from_millis(1150)), "over the cap");
}

#[test]
fn trap_10_the_power_of_the_multiplier_does_not_overflow() {
    let mut policy = policy(5);
    policy.backoff_multiplier = 1e300;
    policy.max_backoff = Duration::MAX;
    assert_eq!(backoff::delay(&policy, u32::MAX, &Random::seeded(3)).as_secs().leading_zeros(), 0);
}

#[tokio::test(start_paused = true)]
async fn a6_the_delay_of_the_nth_retry_grows_by_the_multiplier() {
    let script = Script::new([(0, failed()), (0, failed()), (0, failed()), (0, End::Headers)]);
    script.call(retry(5)).await.unwrap();
    let times = script.times();
    assert!((80..=120).contains(&times[1]), "{times:?}");
    assert!((160..=240).contains(&(times[2] - times[1])), "{times:?}");
    assert!((320..=480).contains(&(times[3] - times[2])), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a6_previous_attempts_are_absent_on_the_first_then_counted() {
    let not_sent = End::Error(Code::Unavailable, Fate::NotSent, false);
    let script = Script::new([(0, failed()), (0, not_sent), (0, failed())]);
    script.call(retry(5)).await.unwrap();
    let one = Some("1".to_owned());
    assert_eq!(script.previous(), [None, one.clone(), one, Some("2".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a6_max_attempts_counts_the_first() {
    let script = Script::new((0..9).map(|_| (0, failed())));
    let response = script.call(retry(3)).await.unwrap();
    assert_eq!(grpc_status(response.headers()), Some(Code::Unavailable));
    assert_eq!(script.times().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a6_headers_commit_and_are_never_retried() {
    let script = Script::new([(0, End::Headers), (0, failed())]);
    script.call(retry(3)).await.unwrap();
    assert_eq!(script.times().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a6_pushback_is_waited_exactly_and_restarts_the_exponent() {
    let script = Script::new([(0, failed()), (0, failed()), (0, pushed("5000")), (0, failed())]);
    script.call(retry(5)).await.unwrap();
    let times = script.times();
    assert_eq!(times[3] - times[2], 5000);
    assert!((80..=120).contains(&(times[4] - times[3])), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a6_pushback_that_is_negative_or_no_number_or_twice_means_do_not_retry() {
    for values in [vec!["-1"], vec!["soon"], vec!["1", "2"], vec!["2147483648"]] {
        let script = Script::new([(0, End::Trailers(Code::Unavailable, values))]);
        let mut plan = retry(5);
        let tokens = throttle(10);
        plan.throttle = Some(tokens.clone());
        script.call(plan).await.unwrap();
        assert_eq!((script.times().len(), tokens.milli_tokens()), (1, 9000));
    }
}

#[tokio::test(start_paused = true)]
async fn a6_pushback_does_not_make_a_code_retryable_and_does_not_lift_max_attempts() {
    let script = Script::new([(0, End::Trailers(Code::NotFound, vec!["1"]))]);
    script.call(retry(5)).await.unwrap();
    assert_eq!(script.times().len(), 1);
    let script = Script::new((0..9).map(|_| (0, pushed("1"))));
    script.call(retry(3)).await.unwrap();
    assert_eq!(script.times().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a6_what_never_left_the_client_is_repeated_until_the_deadline() {
    let not_sent = || (0, End::Error(Code::Unavailable, Fate::NotSent, false));
    let script = Script::new((0..7).map(|_| not_sent()));
    script.call(plan(Repeat::Once)).await.unwrap();
    assert_eq!(script.times(), [0; 8], "at once");
    let script = Script::new((0..100_000).map(|_| not_sent()));
    let mut plan = plan(Repeat::Once);
    plan.deadline = Some(Instant::now() + Duration::from_secs(2));
    script.call(plan).await.unwrap_err();
    assert!(script.times().len() < 50, "does not spin");
}

#[tokio::test(start_paused = true)]
async fn a6_what_was_refused_is_repeated_once_then_by_policy() {
    let refused = || (0, End::Error(Code::Unavailable, Fate::Refused, false));
    let script = Script::new([refused(), refused()]);
    script.call(plan(Repeat::Once)).await.unwrap_err();
    assert_eq!(script.times(), [0, 0]);
    let script = Script::new([refused(), refused()]);
    let mut plan = retry(2);
    let tokens = throttle(10);
    plan.throttle = Some(tokens.clone());
    script.call(plan).await.unwrap();
    let times = script.times();
    assert!(times[1] == 0 && times[2] >= 80, "{times:?}");
    assert_eq!(tokens.milli_tokens(), 9000);
}

#[tokio::test(start_paused = true)]
async fn a6_a_drop_is_not_retried() {
    let script = Script::new([(0, End::Error(Code::Unavailable, Fate::NotSent, true))]);
    script.call(retry(5)).await.unwrap_err();
    assert_eq!(script.times().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a6_a_throttled_retry_returns_the_failure_now() {
    let script = Script::new((0..9).map(|_| (0, failed())));
    let mut plan = retry(5);
    plan.throttle = Some(throttle(4));
    script.call(plan).await.unwrap();
    assert_eq!(script.times().len(), 2, "the second failure leaves 2 of 4, which is not more than half");
}

#[tokio::test(start_paused = true)]
async fn trap_9_a_backoff_beyond_the_deadline_returns_the_last_status_at_once() {
    let script = Script::new([(0, pushed("1000"))]);
    let start = Instant::now();
    let mut plan = retry(5);
    plan.deadline = Some(start + Duration::from_secs(1));
    let response = script.call(plan).await.unwrap();
    assert_eq!(grpc_status(response.headers()), Some(Code::Unavailable));
    assert_eq!((start.elapsed(), script.times().len()), (Duration::ZERO, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_does_not_fit_is_sent_but_not_retried() {
    let script = Script::new([(0, End::Error(Code::Unavailable, Fate::NotSent, false)), (0, failed())]);
    let mut plan = retry(5);
    plan.buffers = small(3);
    script.call_with(plan, Body::new(Full::new(Bytes::from_static(b"hello")))).await.unwrap();
    let seen = script.seen.lock().unwrap();
    assert_eq!(seen.len(), 2, "commits when the message is asked for, not before");
    assert_eq!(&seen[1].body[..], b"hello");
}

#[tokio::test(start_paused = true)]
async fn each_attempt_gets_the_message_and_nothing_stays_in_the_buffers() {
    let script = Script::new([(0, failed()), (0, failed())]);
    let plan = retry(5);
    let buffers = plan.buffers.clone();
    script.call(plan).await.unwrap();
    assert!(script.seen.lock().unwrap().iter().all(|seen| seen.body == "hello"));
    assert_eq!(buffers.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_budget_allows_a_share_of_the_calls_of_its_window() {
    let budget = Budget::new(RetryBudget { ratio: 0.2, min_per_second: 0, ttl: Duration::from_secs(10) });
    for _ in 0..10 {
        budget.call(Instant::now());
    }
    assert!(budget.retry() && budget.retry() && !budget.retry());
    tokio::time::advance(Duration::from_secs(11)).await;
    assert!(!budget.retry());
    let script = Script::new([(0, failed())]);
    let mut plan = retry(5);
    plan.budget = Some(Arc::new(budget));
    script.call(plan).await.unwrap();
    assert_eq!(script.times().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_past_the_deadline_takes_nothing_from_the_budget() {
    let budget = Arc::new(Budget::new(RetryBudget { ratio: 1.0, min_per_second: 0, ttl: Duration::from_secs(10) }));
    let script = Script::new([(0, pushed("5000"))]);
    let mut plan = retry(5);
    plan.budget = Some(budget.clone());
    plan.deadline = Some(Instant::now() + Duration::from_secs(1));
    script.call(plan).await.unwrap();
    assert!(budget.retry());
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_callers_own_stream_is_not_retried() {
    let items = tokio_stream::iter([
        Ok(http_body::Frame::data(Bytes::from_static(b"a"))),
        Ok(http_body::Frame::data(Bytes::from_static(b"b"))),
        Err(tonic::Status::unavailable("the caller's own")),
    ]);
    let script = Script::new([]);
    script.call_with(retry(5), Body::new(http_body_util::StreamBody::new(items))).await.unwrap_err();
    assert_eq!(script.times().len(), 1);
}
