//! What every tower layer of the crate keeps to: readiness, clones, cancelled calls, drops, panics, no spinning.

#![allow(clippy::unwrap_used, reason = "tests")]

mod bad;
mod checks;
mod probe;
mod server;

use std::sync::Arc;
use std::time::Duration;

use meshwork::breaker::{Admission, CircuitBreakerLayer};
use meshwork::deadline::{DeadlineLayer, IncomingDeadlineLayer};
use meshwork::limit::{ConcurrencyLimit, ConcurrencyLimitLayer, RateLimit, RateLimitLayer};
use meshwork::outcome::Outcome;
use meshwork::policy::{CircuitBreaker, HedgingPolicy, RetryPolicy};
use meshwork::retry::{Buffers, HedgeLayer, RetryLayer};
use tokio::time::Instant;
use tonic::Code;

use checks::{Subject, broken};

async fn keeps(make: impl Fn() -> Subject) {
    assert_eq!(broken(&make).await, Vec::<String>::new());
}

async fn is_caught(make: impl Fn() -> Subject, check: &str) {
    let broken = broken(&make).await;
    assert!(broken.iter().any(|problem| problem.starts_with(check)), "{check} not in {broken:?}");
}

#[tokio::test(start_paused = true)]
async fn the_concurrency_limit_keeps_the_contract() {
    keeps(|| {
        let limit = ConcurrencyLimit::new("contract", "", 2);
        Subject::new(ConcurrencyLimitLayer::new(limit.clone()), move || limit.in_flight())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_rate_limit_keeps_the_contract() {
    keeps(|| {
        let limit = Arc::new(RateLimit::new(meshwork::policy::RateLimit { per_second: 10, burst: 1 }));
        Subject::new(RateLimitLayer::new(Arc::clone(&limit)), move || limit.waiting())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_closed_breaker_keeps_the_contract() {
    keeps(|| Subject::new(CircuitBreakerLayer::new(CircuitBreaker::default()), || 0)).await;
}

#[tokio::test(start_paused = true)]
async fn the_half_open_breaker_keeps_the_contract() {
    keeps(|| {
        let layer = CircuitBreakerLayer::new(CircuitBreaker { probes: 2, ..CircuitBreaker::default() });
        let breaker = layer.breaker().clone();
        (0..5).for_each(|_| breaker.record(Instant::now(), Outcome::Status(Code::Unavailable)));
        breaker.half_open();
        // The probes that are taken: two less those that can be had.
        let held = move || {
            let admitted: Vec<_> = (0..2).map(|_| breaker.admit(Instant::now())).collect();
            admitted.iter().filter(|admission| matches!(admission, Admission::Rejected { .. })).count()
        };
        Subject::new(layer, held)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_deadline_keeps_the_contract() {
    keeps(|| Subject::new(DeadlineLayer::new(Some(Duration::from_secs(60))), || 0)).await;
}

#[tokio::test(start_paused = true)]
async fn the_incoming_deadline_keeps_the_contract() {
    keeps(|| Subject::new(IncomingDeadlineLayer, || 0)).await;
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_spins_is_caught() {
    is_caught(|| Subject::new(bad::Spins, || 0), "spin").await;
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_calls_an_unready_clone_is_caught() {
    is_caught(|| Subject::new(bad::CallsUnreadyClone, || 0), "ready").await;
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_leaks_a_permit_on_cancel_is_caught() {
    let make = || {
        let leaks = bad::Leaks::default();
        let held = leaks.clone();
        Subject::new(leaks, move || held.held())
    };
    is_caught(make, "cancel").await;
}

#[tokio::test(start_paused = true)]
async fn retries_keep_the_contract() {
    keeps(|| {
        let buffers = Arc::new(Buffers::default());
        let layer = RetryLayer::new(RetryPolicy::default()).buffers(Arc::clone(&buffers));
        Subject::new(layer, move || buffers.used())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn hedging_keeps_the_contract() {
    keeps(|| {
        let policy = HedgingPolicy {
            max_attempts: 2,
            hedging_delay: Duration::from_secs(3600),
            non_fatal_status_codes: [Code::Unavailable].into_iter().collect(),
        };
        let buffers = Arc::new(Buffers::default());
        Subject::new(HedgeLayer::new(policy).buffers(Arc::clone(&buffers)), move || buffers.used())
    })
    .await;
}
