//! The layers of a server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderMap;
use meshwork::server::auth::{
    Access, AccessTable, Authenticated, AuthenticationLayer, Authenticator, AuthorizationLayer, Principal,
};
use meshwork::server::rate::{OnFailure, Rate, RateLimitLayer, RateLimiter, RedisSettings, Rule};
use meshwork::server::{
    Budgets, CallEnd, CallObserver, CallerLimits, Domain, DrainLayer, IncomingCall, Limits, LoadShedLayer,
    MessageSizeLayer, PanicGuardLayer, Peer, Resource, ServerDeadlineLayer, StreamingMethods, TelemetryLayer,
};

use crate::checks::Subject;
use crate::keeps;

/// Counts the calls that have begun and not ended.
#[derive(Default)]
struct Open(AtomicUsize);

impl CallObserver for Open {
    fn began(&self, _: &IncomingCall<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn ended(&self, _: &IncomingCall<'_>, _: &CallEnd) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn telemetry_keeps_the_contract() {
    keeps(|| {
        let open = Arc::new(Open::default());
        let observer: Arc<dyn CallObserver> = Arc::clone(&open) as _;
        Subject::new(TelemetryLayer::new(observer), move || open.0.load(Ordering::SeqCst))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_panic_guard_keeps_the_contract() {
    keeps(|| Subject::new(PanicGuardLayer::default(), || 0).guarding()).await;
}

#[tokio::test(start_paused = true)]
async fn the_drain_keeps_the_contract() {
    keeps(|| Subject::new(DrainLayer::default(), || 0)).await;
    // The path of the suite's requests.
    keeps(|| {
        let streams = StreamingMethods::from_iter(["/"]);
        Subject::new(DrainLayer::new(tokio_util::sync::CancellationToken::new(), streams, Domain::default()), || 0)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_server_keeps_the_contract() {
    keeps(|| Subject::new(ServerDeadlineLayer::new(Some(Duration::from_secs(60)), Domain::default()), || 0)).await;
}

/// Knows everybody, at once or in a while.
struct Knows {
    at_once: bool,
}

impl Authenticator for Knows {
    fn authenticate(&self, _: &HeaderMap, _: Option<&Peer>) -> Authenticated {
        let principal = Ok(Some(Principal::new("anna", ["staff"])));
        if self.at_once {
            return Authenticated::Now(principal);
        }
        Authenticated::Later(Box::pin(async move {
            tokio::task::yield_now().await;
            principal
        }))
    }
}

#[tokio::test(start_paused = true)]
async fn identity_keeps_the_contract() {
    for at_once in [true, false] {
        keeps(|| Subject::new(AuthenticationLayer::new(Arc::new(Knows { at_once })), || 0)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn authorisation_keeps_the_contract() {
    let table = || AccessTable::new().method("/", Access::Public);
    keeps(|| Subject::new(AuthorizationLayer::new(table(), Domain::default()), || 0)).await;
}

#[tokio::test(start_paused = true)]
async fn load_shedding_keeps_the_contract() {
    keeps(|| {
        let calls = CallerLimits { total: 2, ..CallerLimits::default() };
        let budgets = Budgets::new(Limits::default().with(Resource::Calls, calls));
        let layer = LoadShedLayer::new(budgets.clone(), StreamingMethods::default(), Domain::default());
        Subject::new(layer, move || budgets.in_use(Resource::Calls))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_message_size_keeps_the_contract() {
    keeps(|| Subject::new(MessageSizeLayer::default(), || 0)).await;
}

fn ample() -> Rule {
    Rule::new("ample", Rate::per_second(1000, 1000.0).unwrap()).on_failure(OnFailure::Open)
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_in_the_process_keeps_the_contract() {
    let layer = || RateLimitLayer::new(RateLimiter::in_process(), [ample()], Domain::default());
    keeps(|| Subject::new(layer(), || 0)).await;
    keeps(|| Subject::new(layer().counting_refusals(), || 0)).await;
}

// On real time, as Redis is.
#[tokio::test]
async fn a_rate_limit_in_redis_keeps_the_contract() {
    let redis = meshwork_testkit::Redis::start();
    let settings = || RedisSettings::new(redis.url()).budget(Duration::from_secs(30));
    let limiter = RateLimiter::builder().namespace("contract").redis(settings()).unwrap();
    let layer = || RateLimitLayer::new(limiter.clone(), [ample()], Domain::default());
    keeps(|| Subject::new(layer(), || 0)).await;
}
