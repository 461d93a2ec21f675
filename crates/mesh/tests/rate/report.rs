//! What answers say of limits, by the layer and by each source of decisions.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use meshwork::server::Domain;
use meshwork::server::auth::{Principal, Refused};
use meshwork::server::rate::{
    Decision, OnFailure, Plans, Quota, Rate, RateLimitLayer, RateLimiter, RedisSettings, Rule, Source,
};
use meshwork_testkit::Redis;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer as _, ServiceExt as _};

use crate::support::{DAY, call_from, connected, namespace, patient};

fn rule(name: &'static str, burst: u64) -> Rule {
    Rule::new(name, Rate::new(burst, 1, DAY).unwrap())
}

fn layer(limiter: &RateLimiter, rules: impl IntoIterator<Item = Rule>) -> RateLimitLayer {
    RateLimitLayer::new(limiter.clone(), rules, Domain::default()).report(true)
}

/// The code of an answer, and what it says of limits: the policies, and what is left.
type Said = (Code, Option<String>, Option<String>);

fn said(code: Code, policy: &str, limit: &str) -> Said {
    (code, Some(policy.to_owned()), Some(limit.to_owned()))
}

fn read(headers: &HeaderMap) -> Said {
    let says = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    (Status::from_header_map(headers).unwrap().code(), says("ratelimit-policy"), says("ratelimit"))
}

/// A service that says something of limits itself, and refuses calls that have a header `bad`, as identity would.
async fn handler(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let mut response: Response<Body> = Status::ok("").into_http();
    if request.headers().contains_key("bad") {
        response = Status::unauthenticated("bad token").into_http();
        response.extensions_mut().insert(Refused);
    }
    for name in ["ratelimit", "ratelimit-policy"] {
        response.headers_mut().insert(name, "theirs".parse().unwrap());
    }
    Ok(response)
}

async fn send(layer: &RateLimitLayer, request: Request<Body>) -> Said {
    let response = layer.layer(tower::service_fn(handler)).oneshot(request).await.unwrap();
    read(response.headers())
}

fn bad() -> Request<Body> {
    let mut request = call_from("192.0.2.1");
    request.headers_mut().insert("bad", "yes".parse().unwrap());
    request
}

#[tokio::test(start_paused = true)]
async fn answers_and_refusals_say_what_is_left() {
    let layer = layer(&RateLimiter::in_process(), [rule("calls", 2)]);
    let policy = r#""calls";q=2;w=172800"#;
    let call = async |from| send(&layer, call_from(from)).await;
    assert_eq!(call("192.0.2.1").await, said(Code::Ok, policy, r#""calls";r=1;t=86400"#));
    assert_eq!(call("192.0.2.1").await, said(Code::Ok, policy, r#""calls";r=0;t=172800"#));
    let refused = said(Code::ResourceExhausted, policy, r#""calls";r=0;t=86400"#);
    assert_eq!(call("192.0.2.1").await, refused);
    tokio::time::advance(DAY / 2).await;
    assert_eq!(call("192.0.2.1").await, said(Code::ResourceExhausted, policy, r#""calls";r=0;t=43200"#));
    assert_eq!(call("192.0.2.2").await, said(Code::Ok, policy, r#""calls";r=1;t=86400"#));
    // What no rule counts has no limit, whoever says so.
    let mut health = call_from("192.0.2.1");
    *health.uri_mut() = "/grpc.health.v1.Health/Check".parse().unwrap();
    assert_eq!(send(&layer, health).await, (Code::Ok, None, None));
}

#[tokio::test(start_paused = true)]
async fn by_default_answers_are_left_as_they_are() {
    let theirs = said(Code::Ok, "theirs", "theirs");
    let silent = RateLimitLayer::new(RateLimiter::in_process(), [rule("calls", 1)], Domain::default());
    assert_eq!(send(&silent, call_from("192.0.2.1")).await, theirs);
    assert_eq!(send(&silent, call_from("192.0.2.1")).await, (Code::ResourceExhausted, None, None));
    assert_eq!(send(&RateLimitLayer::default().report(true), call_from("192.0.2.1")).await, theirs);
}

#[tokio::test(start_paused = true)]
async fn refusals_that_count_say_what_is_left_of_them_and_other_answers_what_the_limit_within_says() {
    let limiter = RateLimiter::in_process();
    let front = layer(&limiter, [rule("refusals", 2)]).counting_refusals();
    let policy = r#""refusals";q=2;w=172800"#;
    assert_eq!(send(&front, bad()).await, said(Code::Unauthenticated, policy, r#""refusals";r=1;t=86400"#));
    assert_eq!(send(&front, call_from("192.0.2.1")).await, said(Code::Ok, "theirs", "theirs"));
    assert_eq!(send(&front, bad()).await, said(Code::Unauthenticated, policy, r#""refusals";r=0;t=172800"#));
    assert_eq!(send(&front, bad()).await, said(Code::ResourceExhausted, policy, r#""refusals";r=0;t=86400"#));
    // Of two limits that decide, the inner one speaks.
    let (outer, inner) = (layer(&limiter, [rule("outer", 9)]), layer(&limiter, [rule("inner", 3)]));
    let service = outer.layer(inner.layer(tower::service_fn(handler)));
    let response = service.oneshot(call_from("192.0.2.3")).await.unwrap();
    assert_eq!(read(response.headers()), said(Code::Ok, r#""inner";q=3;w=259200"#, r#""inner";r=2;t=86400"#));
}

#[tokio::test]
async fn nobody_says_what_is_left_while_redis_is_out_of_reach() {
    let unreachable = || RateLimiter::builder().redis(RedisSettings::new("redis://127.0.0.1:1")).unwrap();
    let policy = Some(r#""calls";q=2;w=172800"#.to_owned());
    for on_failure in [OnFailure::OpenLocal, OnFailure::Open] {
        let layer = layer(&unreachable(), [rule("calls", 2).on_failure(on_failure)]);
        let answer = send(&layer, call_from("192.0.2.1")).await;
        assert_eq!(answer, (Code::Ok, policy.clone(), None), "{on_failure:?}");
    }
    let closed = layer(&unreachable(), [rule("calls", 2).on_failure(OnFailure::Closed)]);
    assert_eq!(send(&closed, call_from("192.0.2.1")).await, (Code::Unavailable, policy, None));
    // By this instance's share there is no token: that is known.
    let local = layer(&unreachable(), [rule("calls", 1)]);
    send(&local, call_from("192.0.2.1")).await;
    let refused = said(Code::ResourceExhausted, r#""calls";q=1;w=86400"#, r#""calls";r=0;t=86400"#);
    assert_eq!(send(&local, call_from("192.0.2.1")).await, refused);
}

#[tokio::test]
async fn redis_says_what_is_left_to_all_instances() {
    let redis = Redis::start();
    let namespace = namespace("report");
    let mut layers = Vec::new();
    for _ in 0..2 {
        let builder = RateLimiter::builder().namespace(namespace.clone());
        layers.push(layer(&connected(builder, patient(&redis)).await, [rule("wide", 9), rule("calls", 2)]));
    }
    let policy = r#""wide";q=9;w=777600, "calls";q=2;w=172800"#;
    let call = async |layer: usize| send(&layers[layer], call_from("192.0.2.1")).await;
    assert_eq!(call(0).await, said(Code::Ok, policy, r#""calls";r=1;t=86400"#));
    assert_eq!(call(1).await, said(Code::Ok, policy, r#""calls";r=0;t=172800"#));
    // By Redis, and by the denial that holds still.
    for layer in [0, 0, 1] {
        let refused = said(Code::ResourceExhausted, policy, r#""calls";r=0;t=86400"#);
        assert_eq!(call(layer).await, refused, "{layer}");
    }
}

#[tokio::test]
async fn what_was_taken_in_advance_leaves_open_what_others_have_taken() {
    let redis = Redis::start();
    let builder = RateLimiter::builder().namespace(namespace("leases"));
    let limiter = connected(builder, patient(&redis).leases(true)).await;
    // A token in ten seconds: one is taken in advance.
    let busy = Rule::new("busy", Rate::per_second(100, 0.1).unwrap());
    let taken = limiter.decide(&busy, "anna").await;
    let reset_after = Duration::from_secs(20);
    // With the one in advance.
    let quota = Some(Quota { rule: 0, remaining: 99, reset_after });
    assert_eq!(taken, Decision::Admitted { quota });
    let before = limiter.decisions().admitted(Source::Lease);
    let spent = limiter.decide(&busy, "anna").await;
    if limiter.decisions().admitted(Source::Lease) > before {
        assert_eq!(spent, Decision::Admitted { quota: None });
    }
}

/// Each role is a plan.
struct ByRole;

impl Plans for ByRole {
    fn plan(&self, principal: Option<&Principal>) -> Option<&str> {
        ["free", "partner"].into_iter().find(|plan| principal.is_some_and(|principal| principal.has_role(plan)))
    }
}

#[tokio::test]
async fn plans_have_buckets_of_their_own_and_others_those_they_had() {
    let redis = Redis::start();
    let namespace = namespace("plans");
    let limiter = connected(RateLimiter::builder().namespace(namespace.clone()), patient(&redis)).await;
    let rules = [rule("calls", 2), rule("calls", 3).plan("partner")];
    let layer = layer(&limiter, rules).plans(Arc::new(ByRole));
    let by = |name: &str, role: &str| {
        let mut request = call_from("192.0.2.1");
        request.extensions_mut().insert(Principal::new(format!("users/{name}"), [role]));
        request
    };
    let others = r#""calls";q=2;w=172800"#;
    assert_eq!(send(&layer, by("p", "partner")).await.2.unwrap(), r#""calls";r=2;t=86400"#);
    assert_eq!(send(&layer, by("f", "free")).await, said(Code::Ok, others, r#""calls";r=1;t=86400"#));
    assert_eq!(send(&layer, call_from("192.0.2.1")).await, said(Code::Ok, others, r#""calls";r=1;t=86400"#));
    let mut connection = redis.connection();
    let mut exists = |bucket: &str| connection.command(&["EXISTS", &format!("{{{namespace}/{bucket}")]);
    for bucket in [
        "principal:users/p}:calls:3-1-86400000000-us:plan=partner",
        "principal:users/f}:calls:2-1-86400000000-us",
        "address:192.0.2.1}:calls:2-1-86400000000-us",
    ] {
        assert_eq!(exists(bucket), "1", "{bucket}");
    }
    assert_eq!(exists("principal:users/p}:calls:2-1-86400000000-us"), "0");
}
