//! Our server with everything on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use meshwork::Server;
use meshwork::server::auth::{Access, AccessTable};
use meshwork::server::rate::{Key, Rate, RateLimitLayer, RateLimiter, RateLimiterBuilder, RedisSettings, Rule, Source};
use meshwork::server::{Builder, CallEnd, CallObserver, Domain, IncomingCall};

use crate::message::METHOD;
use crate::token;

/// How many verified tokens are remembered, unless each is to be verified again.
const REMEMBERED: usize = 10_000;

/// What stands between a connection and the handler.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    /// Tokens are remembered, and calls are counted in the process.
    Usual,
    /// Each token is verified.
    Cold,
    /// Callers are over the limit of refusals of their address.
    Limited,
    /// Calls are counted in Redis, by principal.
    Redis,
    /// And tokens of the limit are taken in advance.
    Leases,
}

/// Counts calls, as metrics would.
#[derive(Default)]
struct Calls {
    began: AtomicU64,
    ended: AtomicU64,
}

impl CallObserver for Calls {
    fn began(&self, _: &IncomingCall<'_>) {
        self.began.fetch_add(1, Ordering::Relaxed);
    }

    fn ended(&self, _: &IncomingCall<'_>, _: &CallEnd) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A limit that no machine reaches.
pub fn ample(name: &str) -> Rule {
    Rule::new(name, Rate::per_second(1_000_000_000, 1e9).unwrap())
}

/// A limiter in Redis at `url` that is connected: until then it decides by itself.
pub async fn in_redis(url: &str, leases: bool) -> RateLimiter {
    let limiter = RateLimiterBuilder::default().redis(RedisSettings::new(url).leases(leases)).unwrap();
    let start = Instant::now();
    while limiter.decisions().admitted(Source::Redis) == 0 {
        assert!(start.elapsed() < Duration::from_secs(20), "Redis decides nothing");
        limiter.decide(&ample("connected"), "").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    limiter
}

/// A server with all its layers at work.
pub async fn server(stack: Stack, redis: &str) -> Builder {
    let domain = Domain::new("bench.example.com");
    let local = RateLimiter::in_process();
    let by_principal = match stack {
        Stack::Usual | Stack::Cold | Stack::Limited => local.clone(),
        Stack::Redis | Stack::Leases => in_redis(redis, stack == Stack::Leases).await,
    };
    let authenticator = token::authenticator(if stack == Stack::Cold { 0 } else { REMEMBERED });
    let keys = authenticator.clone();
    tokio::spawn(async move { keys.keep_fresh().await });
    authenticator.ready().await;
    let (addresses, calls) = (ample("addresses").key(Key::Address), ample("calls").key(Key::Principal));
    let by_address = match stack {
        Stack::Limited => {
            let refusals = Rule::new("refusals", Rate::per_second(1, 0.001).unwrap()).key(Key::Address);
            RateLimitLayer::new(local, [refusals], domain).counting_refusals()
        }
        _ => RateLimitLayer::new(local, [addresses], domain),
    };
    Server::builder()
        .domain(domain)
        .observer(Arc::new(Calls::default()))
        .timeout(Duration::from_secs(60))
        .limit_by_address(by_address)
        .authenticator(Arc::new(authenticator))
        .access(AccessTable::new().method(METHOD, Access::Authenticated))
        .limit_by_principal(RateLimitLayer::new(by_principal, [calls], domain))
}
