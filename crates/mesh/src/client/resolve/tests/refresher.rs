//! When resolutions happen, on paused time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::addresses;
use crate::client::backoff::Backoff;
use crate::client::endpoint::Endpoint;
use crate::client::resolve::{Refresher, Resolution, ResolveError, Resolver};
use crate::random::Random;

/// What the resolver does next.
#[derive(Clone, Debug)]
enum Step {
    /// An address with this last byte, good for so many seconds.
    Found(u8, Option<u64>),
    Fails,
    Hangs,
    /// Takes so many seconds.
    Slow(u64, u8),
}

/// Does its steps in turn, the last one again and again, and notes when.
struct Script {
    steps: Mutex<VecDeque<Step>>,
    at: Mutex<Vec<Duration>>,
    start: Instant,
    news: Notify,
    /// Whether `changed` resolves each time at once.
    restless: AtomicBool,
}

impl Script {
    fn new(steps: impl IntoIterator<Item = Step>) -> Arc<Self> {
        Arc::new(Self {
            steps: Mutex::new(steps.into_iter().collect()),
            at: Mutex::default(),
            start: Instant::now(),
            news: Notify::new(),
            restless: AtomicBool::new(false),
        })
    }

    fn refresher(self: &Arc<Self>) -> Refresher {
        self.refresher_with(Backoff::default())
    }

    fn refresher_with(self: &Arc<Self>, backoff: Backoff) -> Refresher {
        Refresher::new(Arc::clone(self) as Arc<dyn Resolver>, backoff, Random::seeded(1))
    }

    /// When it was asked, in milliseconds since the start.
    fn asked(&self) -> Vec<u128> {
        self.at.lock().expect("unpoisoned").iter().map(Duration::as_millis).collect()
    }

    /// When it was asked, in whole seconds.
    fn seconds(&self) -> Vec<u128> {
        self.asked().iter().map(|at| at / 1000).collect()
    }
}

fn found(last: u8, ttl: Option<u64>) -> Resolution {
    let endpoint = Endpoint::new(SocketAddr::from(([10, 0, 0, last], 1)));
    Resolution { ttl: ttl.map(Duration::from_secs), ..Resolution::new(vec![endpoint]) }
}

#[async_trait]
impl Resolver for Script {
    async fn resolve(&self) -> Result<Resolution, ResolveError> {
        self.at.lock().expect("unpoisoned").push(self.start.elapsed());
        let step = {
            let mut steps = self.steps.lock().expect("unpoisoned");
            let last = steps.len() == 1;
            if last { steps.front().cloned() } else { steps.pop_front() }
        };
        match step.expect("a step") {
            Step::Found(last, ttl) => Ok(found(last, ttl)),
            Step::Fails => Err(ResolveError::new("no answer")),
            Step::Hangs => std::future::pending().await,
            Step::Slow(secs, last) => {
                sleep(Duration::from_secs(secs)).await;
                Ok(found(last, None))
            }
        }
    }

    async fn changed(&self) {
        if !self.restless.load(Ordering::Relaxed) {
            // Only those who wait at this moment hear of it.
            self.news.notified().await;
        }
    }
}

/// The address that `next` gives.
async fn next(refresher: &mut Refresher) -> String {
    let answer = timeout(Duration::from_secs(3600), refresher.next()).await.expect("it has something to say");
    addresses(&answer.expect("an answer")).join(",")
}

/// Lets it run for so long, in which it has nothing to say.
async fn quiet(refresher: &mut Refresher, secs: u64) {
    if let Ok(news) = timeout(Duration::from_secs(secs), refresher.next()).await {
        panic!("{news:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_resolution_is_at_once_and_without_a_ttl_the_only_one() {
    let script = Script::new([Step::Found(1, None)]);
    let mut refresher = script.refresher();
    assert_eq!(next(&mut refresher).await, "10.0.0.1:1");
    quiet(&mut refresher, 86_400).await;
    assert_eq!(script.seconds(), [0]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_asked_for_again_when_its_ttl_is_over() {
    let script = Script::new([Step::Found(1, Some(60)), Step::Found(2, Some(10)), Step::Found(3, None)]);
    let mut refresher = script.refresher();
    assert_eq!(next(&mut refresher).await, "10.0.0.1:1");
    assert_eq!(next(&mut refresher).await, "10.0.0.2:1");
    assert_eq!(next(&mut refresher).await, "10.0.0.3:1");
    assert_eq!(script.seconds(), [0, 60, 70]);
}

#[tokio::test(start_paused = true)]
async fn answers_that_differ_in_their_ttl_only_are_not_told_twice() {
    let script = Script::new([
        Step::Found(1, Some(60)),
        Step::Found(1, Some(10)),
        Step::Found(1, Some(20)),
        Step::Found(2, None),
    ]);
    let mut refresher = script.refresher();
    assert_eq!(next(&mut refresher).await, "10.0.0.1:1");
    assert_eq!(next(&mut refresher).await, "10.0.0.2:1");
    assert_eq!(script.seconds(), [0, 60, 70, 90]);
}

#[tokio::test(start_paused = true)]
async fn a_ttl_of_zero_has_a_floor() {
    let script = Script::new([Step::Found(1, Some(0))]);
    let mut refresher = script.refresher();
    next(&mut refresher).await;
    quiet(&mut refresher, 10).await;
    assert_eq!(script.seconds(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
}

#[tokio::test(start_paused = true)]
async fn failures_lead_to_one_resolution_in_30_s_and_are_remembered_until_then() {
    let script = Script::new([Step::Found(1, None), Step::Found(1, None), Step::Found(2, None)]);
    let mut refresher = script.refresher();
    next(&mut refresher).await;
    refresher.refresh();
    quiet(&mut refresher, 29).await;
    refresher.refresh();
    assert_eq!(script.seconds(), [0]);
    quiet(&mut refresher, 10).await;
    assert_eq!(script.seconds(), [0, 30]);
    refresher.refresh();
    assert_eq!(next(&mut refresher).await, "10.0.0.2:1");
    quiet(&mut refresher, 3600).await;
    assert_eq!(script.seconds(), [0, 30, 60], "each wish is met once");
}

#[tokio::test(start_paused = true)]
async fn a_failure_long_after_the_last_resolution_leads_to_one_at_once() {
    let script = Script::new([Step::Found(1, None), Step::Found(2, None)]);
    let mut refresher = script.refresher();
    next(&mut refresher).await;
    quiet(&mut refresher, 100).await;
    refresher.refresh();
    assert_eq!(next(&mut refresher).await, "10.0.0.2:1");
    assert_eq!(script.seconds(), [0, 100]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_during_a_resolution_is_not_met_by_it() {
    let script = Script::new([Step::Slow(5, 1), Step::Found(2, None)]);
    let mut refresher = script.refresher();
    quiet(&mut refresher, 2).await;
    refresher.refresh();
    assert_eq!(next(&mut refresher).await, "10.0.0.1:1");
    assert_eq!(next(&mut refresher).await, "10.0.0.2:1");
    assert_eq!(script.seconds(), [0, 30]);
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_fails_is_asked_again_with_backoff_whatever_fails_besides() {
    let script = Script::new([Step::Fails]);
    let mut refresher = script.refresher();
    for _ in 0..30 {
        refresher.next().await.expect_err("fails");
        refresher.refresh();
    }
    let asked = script.asked();
    let waits: Vec<_> = asked.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1000.0).collect();
    for (index, wait) in waits.iter().enumerate() {
        let due = 1.6_f64.powi(index as i32).min(120.0);
        assert!((due * 0.799..=due * 1.201).contains(wait), "{index}: {wait} for {due}");
    }
    let exact = waits
        .iter()
        .enumerate()
        .filter(|(index, wait)| (1.6_f64.powi(*index as i32).min(120.0) - **wait).abs() < 0.001);
    assert!(exact.count() < 3, "there is jitter");
}

#[tokio::test(start_paused = true)]
async fn a_channel_may_ask_again_as_soon_as_it_reconnects() {
    let script = Script::new([Step::Fails]);
    let backoff = Backoff { initial: Duration::from_millis(100), max: Duration::from_secs(5), ..Backoff::default() };
    let mut refresher = script.refresher_with(backoff);
    for _ in 0..30 {
        refresher.next().await.expect_err("fails");
    }
    let asked = script.asked();
    assert!((80..=120).contains(&asked[1]), "{asked:?}");
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] <= 6000), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_the_same_answer_is_told_again_and_the_backoff_begins_anew() {
    let script = Script::new([
        Step::Found(1, Some(10)),
        Step::Fails,
        Step::Fails,
        Step::Found(1, Some(10)),
        Step::Fails,
        Step::Found(1, None),
    ]);
    let mut refresher = script.refresher();
    assert_eq!(next(&mut refresher).await, "10.0.0.1:1");
    refresher.next().await.expect_err("fails");
    refresher.next().await.expect_err("fails");
    assert_eq!(next(&mut refresher).await, "10.0.0.1:1");
    refresher.next().await.expect_err("fails");
    assert_eq!(next(&mut refresher).await, "10.0.0.1:1");
    let asked = script.asked();
    assert!((800..=1200).contains(&(asked[5] - asked[4])), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_resolution_takes_20_s_at_most() {
    let script = Script::new([Step::Hangs, Step::Found(1, None)]);
    let mut refresher = script.refresher();
    let error = refresher.next().await.expect_err("hangs");
    assert_eq!(error.to_string(), "no answer within 20s");
    assert_eq!(script.start.elapsed(), Duration::from_secs(20));
    assert_eq!(next(&mut refresher).await, "10.0.0.1:1");
    assert_eq!(script.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_change_leads_to_a_resolution_at_once() {
    let script = Script::new([Step::Found(1, None), Step::Found(2, None)]);
    let mut refresher = script.refresher();
    next(&mut refresher).await;
    quiet(&mut refresher, 5).await;
    script.news.notify_waiters();
    assert_eq!(next(&mut refresher).await, "10.0.0.2:1");
    assert_eq!(script.seconds(), [0, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_change_during_a_resolution_is_not_missed() {
    let script = Script::new([Step::Slow(5, 1), Step::Found(2, None)]);
    let mut refresher = script.refresher();
    quiet(&mut refresher, 2).await;
    script.news.notify_waiters();
    assert_eq!(next(&mut refresher).await, "10.0.0.1:1");
    assert_eq!(next(&mut refresher).await, "10.0.0.2:1");
    assert_eq!(script.seconds(), [0, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_change_while_the_resolver_fails_does_not_wait_for_the_backoff() {
    let script = Script::new([Step::Fails, Step::Fails, Step::Fails, Step::Fails, Step::Found(1, None)]);
    let mut refresher = script.refresher();
    for _ in 0..4 {
        refresher.next().await.expect_err("fails");
    }
    let before = script.start.elapsed();
    quiet(&mut refresher, 1).await;
    script.news.notify_waiters();
    assert_eq!(next(&mut refresher).await, "10.0.0.1:1");
    assert_eq!((script.start.elapsed() - before).as_millis(), 1000);
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_tells_of_changes_without_end_is_asked_ten_times_a_second() {
    for step in [Step::Found(1, None), Step::Fails] {
        let script = Script::new([step]);
        script.restless.store(true, Ordering::Relaxed);
        let mut refresher = script.refresher();
        let run = async {
            loop {
                let _ = refresher.next().await;
            }
        };
        timeout(Duration::from_secs(10), run).await.expect_err("without end");
        let asked = script.asked().len();
        assert!((99..=101).contains(&asked), "{asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_loses_nothing_and_asks_nothing_twice() {
    let script = Script::new([Step::Slow(10, 1), Step::Found(2, None)]);
    let mut refresher = script.refresher();
    for _ in 0..9 {
        quiet(&mut refresher, 1).await;
    }
    assert_eq!(next(&mut refresher).await, "10.0.0.1:1");
    assert_eq!(script.start.elapsed(), Duration::from_secs(10));
    assert_eq!(script.seconds(), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_resolves_at_once_and_tells_the_same_answer_again() {
    let script = Script::new([Step::Found(1, None)]);
    let mut refresher = script.refresher();
    next(&mut refresher).await;
    quiet(&mut refresher, 1).await;
    refresher.restart();
    assert_eq!(next(&mut refresher).await, "10.0.0.1:1");
    assert_eq!(script.seconds(), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_forgets_the_backoff_and_what_is_under_way() {
    let script = Script::new([Step::Fails, Step::Hangs, Step::Found(1, None)]);
    let mut refresher = script.refresher();
    refresher.next().await.expect_err("fails");
    quiet(&mut refresher, 10).await;
    refresher.restart();
    assert_eq!(next(&mut refresher).await, "10.0.0.1:1");
    assert_eq!(script.start.elapsed(), Duration::from_secs(10));
}
