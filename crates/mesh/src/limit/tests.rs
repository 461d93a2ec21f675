//! Tests of the limits.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;

use super::*;
use crate::policy;

fn rate(per_second: u32, burst: u32) -> RateLimit {
    RateLimit::new(policy::RateLimit { per_second, burst })
}

const TENTH: Duration = Duration::from_millis(100);

#[test]
fn a32_the_count_is_shared_by_target_and_name() {
    let limit = ConcurrencyLimit::new("a32-shared", "one", 2);
    let same = ConcurrencyLimit::new("a32-shared", "one", 2);
    let other = ConcurrencyLimit::new("a32-shared", "two", 2);
    let held = [limit.try_acquire().unwrap(), same.try_acquire().unwrap()];
    assert!(limit.try_acquire().is_none() && same.try_acquire().is_none());
    assert!(other.try_acquire().is_some());
    drop(held);
    assert_eq!((limit.in_flight(), same.in_flight()), (0, 0));
}

#[test]
fn a32_lowering_the_limit_does_not_reset_the_count() {
    let limit = ConcurrencyLimit::of_target("a32-lower", 3);
    let mut held: Vec<_> = (0..3).map(|_| limit.try_acquire().unwrap()).collect();
    // Permits alone keep the count.
    drop(limit);
    let lower = ConcurrencyLimit::of_target("a32-lower", 2);
    assert_eq!(lower.in_flight(), 3);
    held.pop();
    assert!(lower.try_acquire().is_none());
    held.pop();
    assert!(lower.try_acquire().is_some());
}

#[test]
fn a32_a_count_that_nobody_holds_is_forgotten() {
    let limit = ConcurrencyLimit::of_target("a32-forgotten", 1);
    let permit = limit.try_acquire();
    assert!(concurrency::knows("a32-forgotten"));
    drop(limit);
    assert!(concurrency::knows("a32-forgotten"));
    drop(permit);
    assert!(!concurrency::knows("a32-forgotten"));
}

#[test]
fn a32_threads_never_pass_a_limit() {
    let limit = ConcurrencyLimit::of_target("a32-threads", 3);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    let _held = limit.try_acquire();
                    assert!(limit.in_flight() <= 3);
                }
            });
        }
    });
    assert_eq!(limit.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
    let limit = rate(10, 3);
    let start = Instant::now();
    let mut at = Vec::new();
    for _ in 0..5 {
        limit.acquire(None).await.unwrap();
        at.push(start.elapsed());
    }
    assert_eq!(at[..3], [Duration::ZERO; 3]);
    for (index, at) in at[3..].iter().enumerate() {
        // The timer of tokio is exact to a millisecond, and never early.
        let due = TENTH * (index as u32 + 1);
        assert!(*at >= due && *at <= due + Duration::from_millis(2 * (index as u64 + 1)), "{at:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_turn_comes_after_its_deadline_fails_at_once() {
    let limit = Arc::new(rate(10, 1));
    let start = Instant::now();
    limit.acquire(Some(start)).await.unwrap();
    let refused = limit.acquire(Some(start + TENTH / 2)).await.unwrap_err();
    assert_eq!((refused.code(), start.elapsed()), (Code::ResourceExhausted, Duration::ZERO));
    // In line, the turns of those ahead count.
    let first = tokio::spawn({
        let limit = Arc::clone(&limit);
        async move { limit.acquire(None).await }
    });
    tokio::task::yield_now().await;
    let refused = limit.acquire(Some(start + TENTH * 3 / 2)).await.unwrap_err();
    assert_eq!((refused.code(), start.elapsed()), (Code::ResourceExhausted, Duration::ZERO));
    limit.acquire(Some(start + TENTH * 5 / 2)).await.unwrap();
    first.await.unwrap().unwrap();
    assert_eq!(limit.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn waiters_are_bounded_and_cancelled_ones_leave_the_line() {
    let limit = Arc::new(rate(1, 1).max_waiting(2));
    limit.acquire(None).await.unwrap();
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let limit = Arc::clone(&limit);
            tokio::spawn(async move { limit.acquire(None).await })
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(limit.waiting(), 2);
    assert_eq!(limit.acquire(None).await.unwrap_err().code(), Code::ResourceExhausted);
    for task in waiting {
        task.abort();
        let _ = task.await;
    }
    assert_eq!(limit.waiting(), 0);
    let start = Instant::now();
    limit.acquire(None).await.unwrap();
    assert!(start.elapsed() <= Duration::from_millis(1_002), "a cancelled one took no token");
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_nobody_polls_holds_up_no_others() {
    let limit = rate(10, 1);
    limit.acquire(None).await.unwrap();
    let mut kept = Box::pin(limit.acquire(None));
    assert!(futures_util::poll!(&mut kept).is_pending());
    let start = Instant::now();
    for _ in 0..3 {
        tokio::time::timeout(TENTH * 20, limit.acquire(None)).await.expect("no hang").unwrap();
    }
    assert!(start.elapsed() >= TENTH * 3, "the rate holds");
    kept.await.unwrap();
    assert_eq!(limit.waiting(), 0);
}
