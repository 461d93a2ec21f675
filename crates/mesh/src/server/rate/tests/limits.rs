//! The steps of a limit, as the server takes them.

use std::time::Duration;

use http::{HeaderMap, Request};
use tokio::time::advance;
use tonic::{Code, Status};

use crate::policy::CircuitBreaker;
use crate::random::Random;
use crate::server::auth::Principal;
use crate::server::rate::decision::EventualDecision;
use crate::server::rate::limits::RateLimits;
use crate::server::rate::local::Wants;
use crate::server::rate::{Decision, Key, LimitReport, OnFailure, Rate, RateLimiter, RedisSettings, Rule, Source};
use crate::server::{Domain, Peer};

const GET: &str = "/a.Orders/Get";
const SIGN_IN: &str = "/a.Auth/SignIn";

fn rules() -> Vec<Rule> {
    let all = Rule::new("all", Rate::per_second(5, 3.0).unwrap());
    let sign_in = Rule::new("sign-in", Rate::per_second(2, 1.0).unwrap()).methods(["a.Auth"]);
    vec![all, sign_in]
}

fn limits(limiter: &RateLimiter, rules: Vec<Rule>) -> RateLimits {
    RateLimits::new(limiter.clone(), rules, Domain::new("shop.example.com"))
}

fn peer(last: u8) -> Peer {
    Peer::at(Some(([192, 0, 2, last], 9).into()))
}

fn wants(limits: &RateLimits, peer: &Peer, path: &str) -> Wants {
    limits.wants_of(&limits.rules_for(path), Some(peer), None, &HeaderMap::new(), path).unwrap()
}

/// The status of a call that would be denied now.
fn denial(limits: &RateLimits, wants: &Wants) -> Option<Status> {
    limits.is_exhausted(wants, &LimitReport::default())
}

async fn decided(limits: &RateLimits, wants: &Wants) -> Decision {
    match limits.ask(wants) {
        EventualDecision::Now(decision) => decision,
        EventualDecision::Later(decision) => decision.await,
    }
}

#[tokio::test(start_paused = true)]
async fn s5_who_is_exhausted_is_who_would_be_denied_and_nothing_is_taken() {
    let (random, limiter) = (Random::seeded(7), RateLimiter::in_process());
    let (limits, peers) = (limits(&limiter, rules()), [peer(1), peer(2)]);
    let mut exhausted = 0;
    for _ in 0..5000 {
        advance(Duration::from_micros(random.below(200_000) as u64)).await;
        let wants = wants(&limits, &peers[random.below(2)], [GET, SIGN_IN][random.below(2)]);
        let is_exhausted = denial(&limits, &wants).is_some();
        assert_eq!(denial(&limits, &wants).is_some(), is_exhausted);
        assert_eq!(decided(&limits, &wants).await.is_admitted(), !is_exhausted);
        exhausted += u64::from(is_exhausted);
    }
    assert!((500..4500).contains(&exhausted), "{exhausted}");
    // Each was asked about three times.
    assert_eq!(limiter.decisions().refused(Source::Local), 3 * exhausted);
    assert_eq!(limiter.decisions().admitted(Source::Local), 5000 - exhausted);
}

#[tokio::test(start_paused = true)]
async fn s5_the_refusal_of_who_is_exhausted_says_when_to_come_back() {
    let limits = limits(&RateLimiter::in_process(), rules());
    let wants = wants(&limits, &peer(1), SIGN_IN);
    for _ in 0..2 {
        assert!(denial(&limits, &wants).is_none());
        assert!(decided(&limits, &wants).await.is_admitted());
    }
    let status = denial(&limits, &wants).unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let sentence = "too many calls by address:192.0.2.1 (sign-in); the next is admitted in 1000 ms";
    assert_eq!(status.message(), sentence);
    advance(Duration::from_secs(1)).await;
    assert!(denial(&limits, &wants).is_none());
}

#[tokio::test]
async fn s5_who_is_exhausted_is_known_while_redis_is_out_of_reach() {
    let breaker = CircuitBreaker {
        consecutive_failures: Some(1),
        failure_rate: None,
        open_for: Duration::from_secs(600),
        ..CircuitBreaker::default()
    };
    // Nobody listens there.
    let settings = RedisSettings::new("redis://127.0.0.1:1").breaker(breaker);
    let limiter = RateLimiter::builder().redis(settings).unwrap();
    let rule = |name: &str| Rule::new(name, Rate::new(3, 1, Duration::from_secs(24 * 60 * 60)).unwrap());
    let local = limits(&limiter, vec![rule("local")]);
    let wants_here = wants(&local, &peer(1), GET);
    for _ in 0..3 {
        assert!(denial(&local, &wants_here).is_none());
        assert!(decided(&local, &wants_here).await.is_admitted());
    }
    assert_eq!(denial(&local, &wants_here).unwrap().code(), Code::ResourceExhausted);
    // A rule that fails closed says nothing about who has called too often.
    let closed = limits(&limiter, vec![rule("closed").on_failure(OnFailure::Closed)]);
    let wants_closed = wants(&closed, &peer(1), GET);
    assert!(!decided(&closed, &wants_closed).await.is_admitted());
    assert!(denial(&closed, &wants_closed).is_none());
}

#[test]
fn a_call_is_counted_alike_by_its_parts_and_by_its_extensions() {
    let tenant = Key::Header(http::HeaderName::from_static("x-tenant"));
    let keys = [Key::Principal, Key::PrincipalOrAddress, Key::Peer, Key::Address, Key::Method, tenant];
    let rate = Rate::per_second(1, 1.0).unwrap();
    let rules = keys.into_iter().map(|key| Rule::new("one", rate).key(key)).collect();
    let limits = limits(&RateLimiter::in_process(), rules);
    let places = limits.rules_for(GET);
    assert_eq!(places[..], [0, 1, 2, 3, 4, 5]);
    let named =
        |wants: Option<Wants>| -> Vec<_> { wants.unwrap().into_iter().map(|want| (want.rule, want.name)).collect() };
    let (peer, anna) = (peer(1), Principal::new("users/anna", ["customer"]));
    let mut request = Request::new(());
    *request.uri_mut() = GET.parse().unwrap();
    request.headers_mut().insert("x-tenant", "red".parse().unwrap());
    let nobody = limits.wants_of(&places, None, None, request.headers(), GET);
    assert_eq!(named(nobody), named(limits.wants(&places, &request)));
    request.extensions_mut().insert(peer.clone());
    request.extensions_mut().insert(anna.clone());
    let known = limits.wants_of(&places, Some(&peer), Some(&anna), request.headers(), GET);
    assert_eq!(named(known), named(limits.wants(&places, &request)));
}

#[test]
fn rules_count_the_methods_that_they_name_and_no_health_check() {
    let limits = limits(&RateLimiter::in_process(), rules());
    assert_eq!(limits.rules_for(GET)[..], [0]);
    assert_eq!(limits.rules_for(SIGN_IN)[..], [0, 1]);
    let none = limits.rules_for("/grpc.health.v1.Health/Check");
    assert!(none.is_empty());
    assert!(limits.wants_of(&none, None, None, &HeaderMap::new(), GET).is_none());
}
