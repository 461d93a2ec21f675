//! When tokens are fetched, how long they are used, and what comes of failures.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use http::HeaderMap;
use proptest::prelude::*;
use tokio::time::{Instant, advance, sleep};
use tonic::body::Body;
use tonic::{Code, Status};

use super::{Credentials, SETTLED, TIMEOUT};
use crate::client::credentials::source::{Token, TokenSource};

/// Numbers its tokens. They come in its own way and time.
#[derive(Default)]
struct Numbers(Mutex<State>);

#[derive(Default)]
struct State {
    takes: Duration,
    /// How long a token lives; `None`: there is none.
    lives: Option<Duration>,
    /// When each fetch began.
    begun: Vec<Instant>,
    /// Until when the last token is good.
    ends: Option<Instant>,
}

impl Numbers {
    fn new(takes: Duration, lives: Option<Duration>) -> Arc<Self> {
        let numbers = Arc::new(Self::default());
        numbers.set(takes, lives);
        numbers
    }

    fn set(&self, takes: Duration, lives: Option<Duration>) {
        let mut state = self.0.lock().unwrap();
        (state.takes, state.lives) = (takes, lives);
    }

    fn fetches(&self) -> usize {
        self.0.lock().unwrap().begun.len()
    }
}

#[async_trait]
impl TokenSource for Numbers {
    async fn token(&self) -> Result<Token, String> {
        let (number, takes, lives) = {
            let mut state = self.0.lock().unwrap();
            state.begun.push(Instant::now());
            (state.begun.len(), state.takes, state.lives)
        };
        if !takes.is_zero() {
            sleep(takes).await;
        }
        let lives = lives.ok_or("refused")?;
        self.0.lock().unwrap().ends = Some(Instant::now() + lives);
        Token::bearer(&number.to_string(), lives).map_err(|error| error.to_string())
    }
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn answer(code: Code) -> HeaderMap {
    Status::new(code, "").into_http::<Body>().headers().clone()
}

#[tokio::test(start_paused = true)]
async fn callers_share_a_fetch_and_its_failure() {
    let source = Numbers::new(HOUR, None);
    let credentials = Credentials::new(Arc::clone(&source));
    let start = Instant::now();
    for refused in join_all((0..50).map(|_| credentials.header())).await {
        let refused = refused.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "no token came within 5 s"));
    }
    credentials.header().await.unwrap_err();
    assert_eq!((start.elapsed(), source.fetches()), (TIMEOUT, 1));
    source.set(Duration::ZERO, None);
    advance(SETTLED).await;
    assert_eq!(credentials.header().await.unwrap_err().message(), "refused");
    assert_eq!(source.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_timeout_and_the_status_of_a_failure_are_set() {
    let source = Numbers::new(HOUR, None);
    let failure = |problem: &str| Status::failed_precondition(format!("no identity: {problem}"));
    let credentials = Credentials::builder(source).timeout(2 * SECOND).failure(failure).build();
    let start = Instant::now();
    let refused = credentials.header().await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(refused.message(), "no identity: no token came within 2 s");
    assert_eq!(start.elapsed(), 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_leaves_its_fetch_to_the_others() {
    let source = Numbers::new(3 * SECOND, Some(HOUR));
    let credentials = Credentials::new(Arc::clone(&source));
    tokio::time::timeout(2 * SECOND, credentials.header()).await.unwrap_err();
    let start = Instant::now();
    credentials.header().await.unwrap();
    assert_eq!((start.elapsed(), source.fetches()), (SECOND, 1));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_replaced_before_its_end_while_calls_go_on_with_it() {
    for (life, used) in [(3600, 3540), (240, 180), (40, 30)] {
        let source = Numbers::new(2 * SECOND, Some(life * SECOND));
        let credentials = Credentials::new(Arc::clone(&source));
        credentials.header().await.unwrap();
        sleep(used * SECOND - Duration::from_millis(1)).await;
        assert_eq!(credentials.header().await.unwrap(), "Bearer 1");
        assert_eq!(source.fetches(), 1);
        sleep(Duration::from_millis(1)).await;
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(credentials.header().await.unwrap(), "Bearer 1");
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        sleep(3 * SECOND).await;
        assert_eq!(credentials.header().await.unwrap(), "Bearer 2");
        assert_eq!(source.fetches(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_outlives_a_failure_of_its_source_until_its_end() {
    let source = Numbers::new(Duration::ZERO, Some(240 * SECOND));
    let credentials = Credentials::new(Arc::clone(&source));
    credentials.header().await.unwrap();
    source.set(Duration::ZERO, None);
    for _ in 0..23 {
        sleep(10 * SECOND).await;
        assert_eq!(credentials.header().await.unwrap(), "Bearer 1");
    }
    sleep(10 * SECOND).await;
    credentials.header().await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_token_that_a_peer_refuses_is_replaced() {
    let source = Numbers::new(Duration::ZERO, Some(HOUR));
    let credentials = Credentials::new(Arc::clone(&source));
    let first = credentials.header().await.unwrap();
    // Just made: another would be refused as well.
    credentials.heed(&first, &answer(Code::Unauthenticated));
    assert_eq!(credentials.header().await.unwrap(), first);
    advance(SETTLED).await;
    credentials.heed(&first, &answer(Code::PermissionDenied));
    credentials.heed(&first, &HeaderMap::new());
    assert_eq!(credentials.header().await.unwrap(), first);
    credentials.heed(&first, &answer(Code::Unauthenticated));
    let second = credentials.header().await.unwrap();
    assert_ne!(second, first);
    advance(SETTLED).await;
    // Calls that were sent with the first one come back late.
    credentials.heed(&first, &answer(Code::Unauthenticated));
    assert_eq!(credentials.header().await.unwrap(), second);
    assert_eq!(source.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_fails_like_any_other() {
    struct Broken;

    #[async_trait]
    impl TokenSource for Broken {
        async fn token(&self) -> Result<Token, String> {
            panic!("as planned");
        }
    }

    let refused = Credentials::new(Broken).header().await.unwrap_err();
    assert_eq!(refused.message(), "the source of the tokens has panicked");
}

#[tokio::test(start_paused = true)]
async fn a_life_without_end_is_within_the_clock() {
    let credentials = Credentials::new(Numbers::new(Duration::ZERO, Some(HOUR)));
    credentials.header().await.unwrap();
    credentials.0.take(Token::bearer("x", Duration::MAX).unwrap(), Instant::now());
    assert_eq!(credentials.header().await.unwrap(), "Bearer x");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a source does: fetches begin at least a second apart, no call gets a token after its end, and none fails while
    /// one is good.
    #[test]
    fn calls_have_good_tokens_and_the_source_has_peace(
        steps in prop::collection::vec((0..8_000_u64, 0..7_000_u64, prop::option::of(2_000..90_000_u64)), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let source = Numbers::new(Duration::ZERO, None);
            let credentials = Credentials::new(Arc::clone(&source));
            for (pause, takes, lives) in steps {
                source.set(Duration::from_millis(takes), lives.map(Duration::from_millis));
                sleep(Duration::from_millis(pause)).await;
                let asked = Instant::now();
                let was_good = source.0.lock().unwrap().ends.is_some_and(|ends| asked < ends);
                match credentials.header().await {
                    Ok(_) => {
                        let ends = source.0.lock().unwrap().ends.unwrap();
                        assert!(Instant::now() < ends, "a token after its end");
                    }
                    Err(problem) => assert!(!was_good, "{problem}"),
                }
            }
            let begun = source.0.lock().unwrap().begun.clone();
            assert!(begun.windows(2).all(|pair| pair[1] - pair[0] >= SETTLED), "{begun:?}");
        });
    }
}
