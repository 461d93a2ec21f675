//! How many calls a client may make.

use std::num::NonZeroU32;

use meshwork_api::meshwork::orders::v1::GetOrderRequest;
use meshwork_gateway::{Plan, RateLimit, RouteLimit};
use meshwork_testkit::Redis;
use tokio::task::JoinSet;
use tonic::{Code, Request, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_types::StatusExt;

use crate::http::client::{Answer, ask_as_anna, messages, prefixed};
use crate::world::{BALANCER, World, channel, error, eventually, sign_in, told, with_token};

const BURST: usize = 5;
/// Slow enough that nothing comes back while a test runs.
const ONE_PER_HOUR: f64 = 1.0 / 3600.0;

async fn world() -> World {
    World::with_limit(u32::try_from(BURST).unwrap(), ONE_PER_HOUR).await
}

#[track_caller]
fn assert_is_limited(status: &Status, subject: &str) {
    assert_eq!(told(status), error(Code::ResourceExhausted, "RATE_LIMITED"));
    let delay = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!((3500..=3600).contains(&delay.as_secs()), "{delay:?}");
    let [violation] = status.get_details_quota_failure().unwrap().violations.try_into().unwrap();
    assert_eq!(violation.subject, subject);
    let pushback: u128 = status.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap().parse().unwrap();
    assert_eq!(pushback, delay.as_nanos().div_ceil(1_000_000));
}

#[tokio::test]
async fn exactly_the_burst_of_an_account_passes_and_accounts_are_independent() {
    let world = world().await;
    for user in ["bert", "cora"] {
        for _ in 0..BURST {
            world.get(user, "orders/a").await.unwrap();
        }
        let before = world.orders.calls();
        assert_is_limited(&world.get(user, "orders/a").await.unwrap_err(), &format!("users/{user}"));
        assert_eq!(world.orders.calls(), before, "a call that is refused costs the service nothing");
    }
    let stream = world.client().watch_order(world.request("bert", Default::default())).await;
    assert_is_limited(&stream.map(drop).unwrap_err(), "users/bert");
}

#[tokio::test]
async fn d10_the_accounts_of_one_address_have_the_worth_of_twenty_together() {
    let world = world().await;
    let elsewhere = channel(&world.target, "127.0.0.2").await;
    let mut passed = 0;
    for at in 0..60 {
        for _ in 0..BURST {
            match world.get(&format!("free-{at}"), "orders/a").await {
                Ok(_) => passed += 1,
                Err(status) => assert_is_limited_by_address(&status),
            }
        }
    }
    // The account that the world was warmed up by has called there too.
    assert!((90..=20 * BURST).contains(&passed), "{passed} calls");
    let mut neighbour = meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient::new(elsewhere);
    neighbour.get_order(world.request("neighbour", GetOrderRequest::default())).await.unwrap();
}

#[track_caller]
fn assert_is_limited_by_address(status: &Status) {
    assert_eq!(told(status), error(Code::ResourceExhausted, "RATE_LIMITED"));
    let [violation] = status.get_details_quota_failure().unwrap().violations.try_into().unwrap();
    assert_eq!(violation.subject, "address:127.0.0.1");
}

#[tokio::test]
async fn of_calls_at_once_exactly_the_burst_passes() {
    let world = world().await;
    let mut calls = JoinSet::new();
    for _ in 0..40 {
        let (mut client, request) = (world.client(), world.request("bert", GetOrderRequest::default()));
        calls.spawn(async move { client.get_order(request).await.map(drop) });
    }
    let ends = calls.join_all().await;
    assert_eq!(ends.iter().filter(|end| end.is_ok()).count(), BURST);
    ends.iter().filter_map(|end| end.as_ref().err()).for_each(|status| assert_is_limited(status, "users/bert"));
}

#[tokio::test]
async fn calls_without_a_token_are_counted_by_address_whatever_headers_say() {
    let world = world().await;
    let [one, two] = [channel(&world.target, "127.0.0.2").await, channel(&world.target, "127.0.0.3").await];
    for (channel, subject) in [(&one, "address:127.0.0.2"), (&two, "address:127.0.0.3")] {
        for _ in 0..BURST {
            sign_in(channel).await.unwrap();
        }
        assert_is_limited(&sign_in(channel).await.unwrap_err(), subject);
    }
    let mut forged = Request::new(meshwork_api::meshwork::users::v1::SignInRequest::default());
    forged.metadata_mut().insert("x-forwarded-for", "192.0.2.1".parse().unwrap());
    let mut client = meshwork_api::meshwork::users::v1::auth_service_client::AuthServiceClient::new(one);
    assert_is_limited(&client.sign_in(forged).await.unwrap_err(), "address:127.0.0.2");
}

#[tokio::test]
async fn behind_a_balancer_of_http_its_clients_are_counted_and_not_the_balancer() {
    let world = world().await;
    let balancer = channel(&world.target, BALANCER).await;
    let mut client = meshwork_api::meshwork::users::v1::auth_service_client::AuthServiceClient::new(balancer);
    let mut sign_in = async |forwarded: String| {
        let mut request = Request::new(meshwork_api::meshwork::users::v1::SignInRequest::default());
        request.metadata_mut().insert("x-forwarded-for", forwarded.parse().unwrap());
        client.sign_in(request).await
    };
    for one in ["192.0.2.1", "192.0.2.2"] {
        // What it writes itself stands in front of what the balancer adds.
        for written in 0..BURST {
            sign_in(format!("198.51.100.{written}, {one}")).await.unwrap();
        }
        let limited = sign_in(format!("198.51.100.99, {one}")).await.unwrap_err();
        assert_is_limited(&limited, &format!("address:{one}"));
    }
}

#[tokio::test]
async fn calls_that_are_refused_are_counted_by_address_and_harm_no_account_that_is_at_work_there() {
    let world = world().await;
    world.get("bert", "orders/a").await.unwrap();
    let guess = async || {
        let request = with_token("e30.e30.x", GetOrderRequest::default());
        world.get_with(request).await.unwrap_err()
    };
    for _ in 0..BURST - 1 {
        assert_eq!(told(&guess().await), error(Code::Unauthenticated, "BAD_TOKEN"));
    }
    let missing = world.get_with(Request::new(GetOrderRequest::default())).await.unwrap_err();
    assert_eq!(told(&missing), error(Code::Unauthenticated, "NOT_SIGNED_IN"));
    assert_is_limited(&guess().await, "address:127.0.0.1");
    // Calls without a token share the bucket.
    assert_is_limited(&sign_in(&world.channel).await.unwrap_err(), "address:127.0.0.1");
    world.get("bert", "orders/a").await.unwrap();
    // Who is over the limit has no signature checked: a token that comes anew has to wait until there is room.
    assert_is_limited(&world.get("carl", "orders/a").await.unwrap_err(), "address:127.0.0.1");
}

#[tokio::test]
async fn health_is_not_limited() {
    let world = world().await;
    for _ in 0..BURST * 3 {
        assert_eq!(world.health("").await.unwrap(), ServingStatus::Serving);
    }
    sign_in(&world.channel).await.unwrap();
}

fn count(burst: usize) -> NonZeroU32 {
    NonZeroU32::new(u32::try_from(burst).unwrap()).unwrap()
}

fn plan(burst: usize, accounts: &[&str], roles: &[&str]) -> Plan {
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    let (accounts, roles) = (texts(accounts), texts(roles));
    Plan { burst: count(burst), per_second: ONE_PER_HOUR, accounts, roles, address_share: true }
}

/// A gateway with the usual limit, changed.
async fn limited(change: impl FnOnce(&mut RateLimit)) -> World {
    let mut rate_limit = RateLimit { burst: count(BURST), per_second: ONE_PER_HOUR, ..RateLimit::default() };
    change(&mut rate_limit);
    World::changed(|config| config.rate_limit = rate_limit).await
}

#[tokio::test]
async fn a_route_has_a_limit_of_each_client_beside_that_of_all_calls() {
    let watch = "meshwork.orders.v1.OrderService/WatchOrder";
    let route = RouteLimit { methods: vec![watch.to_owned()], burst: count(2), per_second: ONE_PER_HOUR };
    let world = limited(|limit| limit.routes = vec![route]).await;
    for user in ["bert", "cora"] {
        for _ in 0..2 {
            world.client().watch_order(world.request(user, Default::default())).await.unwrap();
        }
        let refused = world.client().watch_order(world.request(user, Default::default())).await.map(drop).unwrap_err();
        assert_is_limited(&refused, &format!("users/{user}"));
        assert!(refused.message().contains(watch), "{refused:?}");
        // A refused call takes nothing of the other limit.
        assert_eq!(passing(&world, user).await, BURST - 2);
    }
}

#[tokio::test]
async fn accounts_on_a_plan_have_the_limit_of_the_plan() {
    let plans = [("gold", plan(9, &["users/bert"], &[])), ("inside", plan(7, &[], &["staff"]))];
    let world = limited(|limit| limit.plans = plans.map(|(name, plan)| (name.to_owned(), plan)).into()).await;
    let passing = async |user: &str, role: &str| {
        let mut count = 0;
        while world.get_with(world.request_of(user, role, GetOrderRequest::default())).await.is_ok() {
            count += 1;
        }
        count
    };
    assert_eq!(passing("bert", "customer").await, 9);
    assert_eq!(passing("sue", "staff").await, 7);
    assert_eq!(passing("cora", "customer").await, BURST);
}

#[tokio::test]
async fn a_plan_may_be_free_of_the_share_of_its_address() {
    let free = Plan { address_share: false, ..plan(30, &["users/partner"], &[]) };
    let plans = [("free", free), ("counted", plan(30, &["users/bert"], &[]))];
    let world = limited(|limit| {
        limit.accounts_per_address = 1;
        limit.plans = plans.map(|(name, plan)| (name.to_owned(), plan)).into();
    })
    .await;
    for _ in 0..30 {
        world.get("partner", "orders/a").await.unwrap();
    }
    let mut count = 0;
    let refused = loop {
        match world.get("bert", "orders/a").await {
            Ok(_) => count += 1,
            Err(status) => break status,
        }
    };
    assert_is_limited_by_address(&refused);
    assert!(count <= BURST, "{count} calls");
}

/// What an answer says of the limits.
fn said(answer: &Answer) -> (&str, &str) {
    (answer.header("ratelimit"), answer.header("ratelimit-policy"))
}

#[tokio::test]
async fn answers_say_what_is_left_by_every_protocol_and_errors_do_too() {
    let per_second = 0.5;
    let world = limited(|limit| (limit.per_second, limit.accounts_per_address) = (per_second, 0)).await;
    let policy = r#""calls";q=5;w=10"#;
    let get = "POST /meshwork.orders.v1.OrderService/GetOrder";
    let message = prost::Message::encode_to_vec(&GetOrderRequest { name: "orders/a".to_owned(), ..Default::default() });
    let (json, web) = (("content-type", "application/json"), ("content-type", "application/grpc-web+proto"));
    let ask = async |user: &str, start: &str, headers: &[(&str, &str)], body: &[u8]| {
        let token = format!("Bearer {}", world.issuer.token(user, "customer"));
        let headers = [headers, &[("authorization", token.as_str())]].concat();
        crate::http::client::ask(&world, start, &headers, body).await
    };
    let framed = prefixed(0, &message);
    let refused = br#"{"name":"orders/refused"}"#.as_slice();
    for (at, (start, headers, body, status)) in [
        ("GET /v1/orders/a", &[][..], &[][..], 200),
        ("GET /v1/orders/refused", &[], &[], 400),
        (get, &[json], br#"{"name":"orders/a"}"#.as_slice(), 200),
        (get, &[json], refused, 400),
        (get, &[web], framed.as_slice(), 200),
    ]
    .into_iter()
    .enumerate()
    {
        let user = format!("caller-{at}");
        let answer = ask(&user, start, headers, body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(said(&answer), (r#""calls";r=4;t=2"#, policy), "{start}");
        for _ in 1..BURST {
            ask(&user, start, headers, body).await;
        }
        let limited = ask(&user, start, headers, body).await;
        let (left, told) = said(&limited);
        assert!(left.starts_with(r#""calls";r=0;t="#) && told == policy, "{limited:?}");
        if headers.contains(&web) {
            // Its status is in its head, or in the last message.
            let told = limited.header("grpc-status").to_owned();
            assert!(told == "8" || messages(&limited.body).last().is_some(), "{limited:?}");
        } else {
            assert_eq!(limited.status, 429, "{limited:?}");
        }
        assert!(limited.headers.keys().all(|name| !name.as_str().starts_with("grpc-metadata-ratelimit")));
    }
}

#[tokio::test]
async fn pages_of_other_origins_may_read_what_is_left() {
    let world = World::changed(|config| config.http.cors_origins = vec!["*".to_owned()]).await;
    let answer = ask_as_anna(&world, "GET /v1/orders/a", &[("origin", "https://shop.example")], b"").await;
    let exposed: Vec<_> = answer.header("access-control-expose-headers").split(", ").collect();
    assert!(exposed.contains(&"ratelimit") && exposed.contains(&"ratelimit-policy"), "{exposed:?}");
    let asked = [
        ("origin", "https://shop.example"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "x-api-key"),
    ];
    let granted = crate::http::client::ask(&world, "OPTIONS /v1/orders/a", &asked, b"").await;
    assert_eq!(granted.header("access-control-allow-headers"), "x-api-key");
}

#[tokio::test]
async fn answers_say_nothing_of_limits_unless_they_are_to() {
    let world = limited(|limit| limit.headers = false).await;
    let answer = ask_as_anna(&world, "GET /v1/orders/a", &[], b"").await;
    assert_eq!((answer.status, said(&answer)), (200, ("", "")));
}

/// A gateway that counts in a Redis, once it does: until the connection is there it counts for itself.
async fn counting_in(redis: &Redis, prefix: &str, probe: &str) -> World {
    let world = World::with_limit_in(redis, prefix, u32::try_from(BURST).unwrap(), ONE_PER_HOUR).await;
    let key = format!("{{{prefix}:gateway/principal:users/{probe}}}:*");
    eventually(async || {
        // It may have no token left: that is counted too.
        world.get(probe, "orders/a").await.ok();
        (!redis.connection().command(&["KEYS", key.as_str()]).is_empty()).then_some(())
    })
    .await;
    world
}

/// How many calls of an account pass until one is refused.
async fn passing(world: &World, user: &str) -> usize {
    for count in 0..=2 * BURST {
        if let Err(status) = world.get(user, "orders/a").await {
            assert_eq!(told(&status), error(Code::ResourceExhausted, "RATE_LIMITED"));
            return count;
        }
    }
    panic!("no call of {user} is refused")
}

#[tokio::test]
async fn shops_on_one_redis_count_apart_by_their_prefixes_and_gateways_of_one_shop_together() {
    let redis = Redis::private(&[]);
    let one = counting_in(&redis, "one", "probe-1").await;
    let other = counting_in(&redis, "other", "probe-2").await;
    let beside_one = counting_in(&redis, "one", "probe-3").await;
    assert!(passing(&one, "bert").await > 0);
    assert!(passing(&other, "bert").await > 0, "the shops share their clients' allowances");
    let more = passing(&beside_one, "bert").await;
    // An answer of Redis that came too late is decided without it: that may leave one.
    assert!(more < BURST, "{more} more calls pass at another gateway of the shop");
}
