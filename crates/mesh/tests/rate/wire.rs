//! What callers are told, and which calls count.

use std::time::Duration;

use meshwork::server::Domain;
use meshwork::server::auth::Principal;
use meshwork::server::rate::{Decision, Key, OnFailure, Rate, RateLimitLayer, RateLimiter, RedisSettings, Rule};
use tokio::time::advance;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{DAY, call_from, layer, send};

fn calls(burst: u64) -> Rule {
    Rule::new("calls", Rate::new(burst, 1, DAY).unwrap())
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_call_above_the_rate_reads_when_to_come_back_in_every_way_there_is() {
    let layer = layer(&RateLimiter::in_process(), Rule::new("calls", Rate::per_second(1, 3.0).unwrap()));
    send(&layer, call_from("192.0.2.1")).await.unwrap();
    let status = send(&layer, call_from("192.0.2.1")).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.message(), "too many calls by address:192.0.2.1 (calls); the next is admitted in 334 ms");
    let info = status.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("RATE_LIMITED", "shop.example.com"));
    assert_eq!(info.metadata["rule"], "calls");
    let wait = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert_eq!(wait, Duration::from_micros(333_334));
    let [violation] = status.get_details_quota_failure().unwrap().violations.try_into().unwrap();
    assert_eq!(violation.subject, "address:192.0.2.1");
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "334");
    advance(wait).await;
    send(&layer, call_from("192.0.2.1")).await.unwrap();
}

#[tokio::test]
async fn without_a_rule_every_call_passes() {
    let none = RateLimitLayer::new(RateLimiter::in_process(), [], Domain::default());
    for layer in [RateLimitLayer::default(), none, RateLimitLayer::default().counting_refusals()] {
        for _ in 0..1000 {
            send(&layer, call_from("192.0.2.1")).await.unwrap();
        }
    }
}

#[tokio::test]
async fn health_checks_pass_and_reflection_is_limited() {
    let layer = layer(&RateLimiter::in_process(), calls(1).key(Key::Address));
    let to = |path: &str| {
        let mut request = call_from("192.0.2.1");
        *request.uri_mut() = path.parse().unwrap();
        request
    };
    for _ in 0..10 {
        send(&layer, to("/grpc.health.v1.Health/Check")).await.unwrap();
    }
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    send(&layer, to(reflection)).await.unwrap();
    send(&layer, to(reflection)).await.unwrap_err();
}

#[tokio::test]
async fn a_call_has_to_pass_all_rules_and_a_denial_takes_nothing() {
    let rules =
        [calls(3).key(Key::Address), Rule::new("sign-in", Rate::new(1, 1, DAY).unwrap()).methods(["shop.v1.Auth"])];
    let layer = RateLimitLayer::new(RateLimiter::in_process(), rules, Domain::default());
    let sign_in = || {
        let mut request = call_from("192.0.2.1");
        *request.uri_mut() = "/shop.v1.Auth/SignIn".parse().unwrap();
        request
    };
    send(&layer, sign_in()).await.unwrap();
    for _ in 0..5 {
        let status = send(&layer, sign_in()).await.unwrap_err();
        assert_eq!(status.get_details_error_info().unwrap().metadata["rule"], "sign-in");
    }
    send(&layer, call_from("192.0.2.1")).await.unwrap();
    send(&layer, call_from("192.0.2.1")).await.unwrap();
    let status = send(&layer, call_from("192.0.2.1")).await.unwrap_err();
    assert_eq!(status.get_details_error_info().unwrap().metadata["rule"], "calls");
}

#[tokio::test]
async fn calls_that_identity_refuses_share_the_bucket_of_their_address_and_harm_no_account_there() {
    let limiter = RateLimiter::in_process();
    let front = layer(&limiter, calls(5)).counting_refusals();
    let behind = layer(&limiter, calls(5));
    let guess = || {
        let mut request = call_from("192.0.2.1");
        request.headers_mut().insert("bad", "yes".parse().unwrap());
        request
    };
    for _ in 0..4 {
        assert_eq!(send(&front, guess()).await.unwrap_err().code(), Code::Unauthenticated);
    }
    // One without a token, behind identity: the fifth of this address.
    send(&behind, call_from("192.0.2.1")).await.unwrap();
    let status = send(&front, guess()).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "RATE_LIMITED"));
    assert_eq!(send(&behind, call_from("192.0.2.1")).await.unwrap_err().code(), Code::ResourceExhausted);
    // Accounts at this address, and other addresses, have their own.
    let mut anna = call_from("192.0.2.1");
    anna.extensions_mut().insert(Principal::new("users/anna", ["customer"]));
    send(&behind, anna).await.unwrap();
    send(&front, call_from("192.0.2.1")).await.unwrap();
    send(&behind, call_from("192.0.2.2")).await.unwrap();
}

#[tokio::test]
async fn rl_6_a_closed_route_says_that_it_cannot_be_counted() {
    // Nobody listens there.
    let unreachable = RedisSettings::new("redis://127.0.0.1:1");
    let limiter = RateLimiter::builder().redis(unreachable).unwrap();
    let closed = layer(&limiter, calls(5).on_failure(OnFailure::Closed));
    let status = send(&closed, call_from("192.0.2.1")).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "RATE_LIMIT_UNAVAILABLE"));
    assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(1)));
    assert!(status.message().contains("retry in a second"), "{}", status.message());
    let open = layer(&limiter, calls(1).on_failure(OnFailure::Open));
    for _ in 0..10 {
        send(&open, call_from("192.0.2.1")).await.unwrap();
    }
}

#[tokio::test]
async fn a_url_that_is_none_of_redis_is_refused_without_showing_a_password() {
    let error = RateLimiter::builder().redis(RedisSettings::new("http//user:secret@redis")).unwrap_err().to_string();
    assert!(error.contains("redis://host:6379") && !error.contains("secret"), "{error}");
    for bad in ["redis://user:secret@redis/abc", "redis-sentinel://user:secret@redis"] {
        let error = RedisSettings::new(bad).check().unwrap_err().to_string();
        assert!(error.contains("redis://host:6379") && !error.contains("secret"), "{error}");
    }
    for good in ["redis://redis/1", "rediss://redis", "redis-sentinel://redis?sentinelServiceName=shop"] {
        RedisSettings::new(good).check().unwrap();
    }
    let shown = format!("{:?}", RedisSettings::new("redis://user:secret@redis"));
    assert!(!shown.contains("secret"), "{shown}");
}

#[tokio::test]
async fn the_hook_sees_each_decision() {
    let (tell, told) = std::sync::mpsc::channel();
    let hook = move |_, decision: Decision| tell.send(decision.is_admitted()).unwrap();
    let limiter = RateLimiter::builder().on_decision(hook).in_process();
    for _ in 0..2 {
        limiter.decide(&calls(1), "anna").await;
    }
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [true, false]);
}
