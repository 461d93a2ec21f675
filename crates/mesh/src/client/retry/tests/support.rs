//! Attempts that end as a test says.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::uri::PathAndQuery;
use http_body_util::{BodyExt as _, Full};
use tokio::time::{Instant, sleep};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::client::retry::{AttemptContext, AttemptError, Attempted, Attempts};
use crate::client::retry::{AttemptLog, Budget, Buffers, Plan, Repeatable, RequestBody, Throttle, run};
use crate::client::trace::AttemptTrace;
use crate::observe::Observers;
use crate::policy::{Codes, HedgingPolicy, Repeat, RetryPolicy, RetryThrottling};
use crate::random::Random;
use crate::transport::Fate;

/// How an attempt ends.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// Headers, whatever the trailers say.
    Headers,
    /// A Trailers-Only response.
    Trailers(Code, Vec<&'static str>),
    /// No response.
    Error(Code, Fate, bool),
}

/// An attempt as the server saw it.
#[derive(Clone, Debug)]
pub(super) struct ReceivedAttempt {
    pub(super) at: Duration,
    pub(super) previous: Option<String>,
    pub(super) body: Bytes,
}

#[derive(Clone)]
pub(super) struct Script {
    start: Instant,
    ends: Arc<Mutex<VecDeque<(Duration, End)>>>,
    pub(super) seen: Arc<Mutex<Vec<ReceivedAttempt>>>,
    pub(super) live: Arc<AtomicUsize>,
}

struct Live(Arc<AtomicUsize>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Script {
    pub(super) fn new(ends: impl IntoIterator<Item = (u64, End)>) -> Self {
        let ends = ends.into_iter().map(|(ms, end)| (Duration::from_millis(ms), end)).collect();
        Self { start: Instant::now(), ends: Arc::new(Mutex::new(ends)), seen: Arc::default(), live: Arc::default() }
    }

    pub(super) fn times(&self) -> Vec<u128> {
        self.seen.lock().unwrap().iter().map(|seen| seen.at.as_millis()).collect()
    }

    pub(super) fn previous(&self) -> Vec<Option<String>> {
        self.seen.lock().unwrap().iter().map(|seen| seen.previous.clone()).collect()
    }

    pub(super) async fn call(&self, plan: Means) -> Result<http::Response<Full<Bytes>>, AttemptError> {
        self.call_with(plan, Body::new(Full::new(Bytes::from_static(b"hello")))).await
    }

    pub(super) async fn call_with(&self, plan: Means, body: Body) -> Result<http::Response<Full<Bytes>>, AttemptError> {
        let plan = plan.plan();
        let request = Repeatable::new(http::Request::new(body), plan.buffers, None);
        run(self.clone(), &request, &plan, &mut AttemptLog::new()).await
    }
}

impl Attempts for Script {
    type ResponseBody = Full<Bytes>;
    type Future = BoxFuture<'static, Attempted<Full<Bytes>>>;

    fn attempt(&mut self, request: http::Request<RequestBody>, _: AttemptContext) -> Self::Future {
        let this = self.clone();
        this.live.fetch_add(1, Ordering::SeqCst);
        let live = Live(this.live.clone());
        async move {
            let _live = live;
            let at = this.start.elapsed();
            let (parts, body) = request.into_parts();
            let previous = parts.headers.get("grpc-previous-rpc-attempts");
            let previous = previous.map(|value| value.to_str().unwrap().to_owned());
            let index = {
                let mut seen = this.seen.lock().unwrap();
                seen.push(ReceivedAttempt { at, previous, body: Bytes::new() });
                seen.len() - 1
            };
            let (delay, end) = this.ends.lock().unwrap().pop_front().unwrap_or((Duration::ZERO, End::Headers));
            let sent = !matches!(end, End::Error(_, Fate::NotSent, _));
            if sent {
                match body.collect().await {
                    Ok(body) => this.seen.lock().unwrap()[index].body = body.to_bytes(),
                    Err(status) => {
                        let result = Err(AttemptError { status, fate: Fate::Sent, last: false });
                        return Attempted::new(result, AttemptTrace::default());
                    }
                }
            }
            // Without a wait it ends within the poll that read the last of the body.
            if !delay.is_zero() {
                sleep(delay).await;
            }
            let result = match end {
                End::Headers => Ok(http::Response::new(Full::default())),
                End::Trailers(code, pushback) => {
                    let mut response = http::Response::new(Full::default());
                    response.headers_mut().insert("grpc-status", (code as i32).into());
                    for value in pushback {
                        response.headers_mut().append("grpc-retry-pushback-ms", value.parse().unwrap());
                    }
                    Ok(response)
                }
                End::Error(code, fate, last) => Err(AttemptError { status: Status::new(code, "as told"), fate, last }),
            };
            Attempted::new(result, AttemptTrace::default())
        }
        .boxed()
    }
}

pub(super) fn failed() -> End {
    End::Trailers(Code::Unavailable, vec![])
}

pub(super) fn pushed(value: &'static str) -> End {
    End::Trailers(Code::Unavailable, vec![value])
}

/// What a [`Plan`] borrows.
pub(super) struct Means {
    pub(super) repeat: Repeat,
    pub(super) attempt_timeout: Option<Duration>,
    pub(super) deadline: Option<Instant>,
    pub(super) wait_for_ready: bool,
    pub(super) throttle: Option<Arc<Throttle>>,
    pub(super) budget: Option<Arc<Budget>>,
    pub(super) buffers: Arc<Buffers>,
    pub(super) random: Random,
    pub(super) observers: Observers,
    pub(super) method: PathAndQuery,
}

impl Means {
    pub(super) fn plan(&self) -> Plan<'_> {
        Plan {
            now: Instant::now(),
            repeat: &self.repeat,
            attempt_timeout: self.attempt_timeout,
            deadline: self.deadline,
            wait_for_ready: self.wait_for_ready,
            throttle: self.throttle.as_deref(),
            budget: self.budget.as_deref(),
            buffers: &self.buffers,
            random: &self.random,
            observers: &self.observers,
            repeats: None,
            method: &self.method,
        }
    }
}

pub(super) fn plan(repeat: Repeat) -> Means {
    Means {
        repeat,
        attempt_timeout: None,
        deadline: None,
        wait_for_ready: false,
        throttle: None,
        budget: None,
        buffers: Arc::default(),
        random: Random::seeded(7),
        observers: Observers::default(),
        method: PathAndQuery::from_static("/test.Test/Call"),
    }
}

pub(super) fn retry(max_attempts: u32) -> Means {
    plan(Repeat::Retry(Arc::new(policy(max_attempts))))
}

pub(super) fn policy(max_attempts: u32) -> RetryPolicy {
    RetryPolicy {
        max_attempts,
        initial_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_millis(1000),
        backoff_multiplier: 2.0,
        retryable_status_codes: Codes::from_iter([Code::Unavailable]),
    }
}

pub(super) fn hedge(max_attempts: u32, delay: u64) -> Means {
    plan(Repeat::Hedge(Arc::new(HedgingPolicy {
        max_attempts,
        hedging_delay: Duration::from_millis(delay),
        non_fatal_status_codes: Codes::from_iter([Code::Unavailable]),
    })))
}

pub(super) fn throttle(tokens: u32) -> Arc<Throttle> {
    Arc::new(Throttle::new(RetryThrottling { max_milli_tokens: tokens * 1000, milli_token_ratio: 100 }))
}

pub(super) fn small(per_call: usize) -> Arc<Buffers> {
    Arc::new(Buffers::new(per_call, 1 << 20))
}
