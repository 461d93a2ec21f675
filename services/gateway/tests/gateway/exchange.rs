//! API keys and tokens of other issuers.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_api::meshwork::orders::v1::{GetOrderRequest, Order};
use meshwork_testkit::Issuer;
use meshwork_testkit::issuer::Claims;
use tokio::task::JoinSet;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::http::client::{ask, prefixed};
use crate::users::{Becomes, Users, claims};
use crate::world::{World, channel, error, eventually, told, with_token};

const KEY: &str = "mwk_k1_secret";
const HOUR: Duration = Duration::from_secs(3600);

fn by_key(key: &str) -> Request<GetOrderRequest> {
    let mut request = Request::new(GetOrderRequest { name: "orders/a".to_owned(), ..Default::default() });
    request.metadata_mut().insert("x-api-key", key.parse().unwrap());
    request
}

fn by_token(token: &str) -> Request<GetOrderRequest> {
    with_token(token, GetOrderRequest { name: "orders/a".to_owned(), ..Default::default() })
}

/// A JWT that nobody has signed.
fn unsigned(header: &str, issuer: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let claims =
        format!(r#"{{"iss":"{issuer}","aud":"meshwork","sub":"users/root","role":"staff","iat":1,"exp":9999999999}}"#);
    format!("{}.{}.x", part(header), part(&claims))
}

/// The account of the one token that the upstream got with its last call.
#[track_caller]
fn account(metadata: &MetadataMap) -> String {
    let [token] = metadata.get_all("authorization").iter().collect::<Vec<_>>().try_into().expect("it is one");
    let token = token.to_str().unwrap().strip_prefix("Bearer ").unwrap();
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["iss"], "meshwork");
    claims["sub"].as_str().unwrap().to_owned()
}

/// The account that the upstream was called for last. Nothing that it got is the credential.
#[track_caller]
fn called_for(world: &World, credential: &str) -> String {
    let metadata = world.orders.orders.seen.lock().unwrap().pop().expect("it was called");
    assert!(metadata.get("x-api-key").is_none());
    for value in metadata.clone().into_headers().values() {
        assert!(!String::from_utf8_lossy(value.as_bytes()).contains(credential), "{metadata:?}");
    }
    account(&metadata)
}

#[tokio::test]
async fn a_key_is_exchanged_once_and_the_upstream_gets_the_token() {
    let (world, users) = World::exchanging().await;
    users.exchange(KEY, Becomes::Token(claims("kim", HOUR)));
    for request in [by_key(KEY), by_token(KEY), by_key(KEY)] {
        assert_eq!(world.get_with(request).await.unwrap().name, "orders/a");
        assert_eq!(called_for(&world, KEY), "users/kim");
    }
    assert_eq!(users.asked(KEY), 1);
    // Attempts are counted by the caller's address.
    assert_eq!(users.addresses(KEY), ["127.0.0.1"]);
}

#[tokio::test]
async fn no_protocol_takes_a_key_further() {
    let (world, users) = World::exchanging().await;
    users.exchange(KEY, Becomes::Token(claims("kim", HOUR)));
    let key = ("x-api-key", KEY);
    let rpc = "/meshwork.orders.v1.OrderService/GetOrder";
    let json = ("content-type", "application/json");
    let web = ("content-type", "application/grpc-web+proto");
    let message = prost::Message::encode_to_vec(&GetOrderRequest { name: "orders/a".to_owned(), ..Default::default() });
    let query = format!("GET {rpc}?connect=v1&encoding=json&message=%7B%22name%22%3A%22orders/a%22%7D");
    for (start, headers, body) in [
        ("GET /v1/orders/a".to_owned(), vec![key], Vec::new()),
        ("GET /v1/orders/a".to_owned(), vec![("authorization", "Bearer mwk_k1_secret")], Vec::new()),
        (format!("POST {rpc}"), vec![key, json], br#"{"name":"orders/a"}"#.to_vec()),
        (query, vec![key], Vec::new()),
        (format!("POST {rpc}"), vec![key, web], prefixed(0, &message)),
    ] {
        let answer = ask(&world, &start, &headers, &body).await;
        assert_eq!(answer.status, 200, "{start}: {answer:?}");
        assert_eq!(called_for(&world, KEY), "users/kim", "{start}");
    }
    assert_eq!(users.asked(KEY), 1);
    // A key has no second name, and no second place.
    let hidden = ask(&world, "GET /v1/orders/a", &[("grpc-metadata-x-api-key", KEY)], b"").await;
    assert_eq!(hidden.status, 401, "{hidden:?}");
    let twice = ask(&world, "GET /v1/orders/a", &[key, key], b"").await;
    assert_eq!((twice.status, twice.header("www-authenticate")), (401, "Bearer"), "{twice:?}");
    assert!(world.orders.orders.seen.lock().unwrap().pop().is_none_or(|seen| account(&seen) == "users/anna"));
}

#[tokio::test]
async fn several_credentials_are_refused_whichever_are_good() {
    let (world, users) = World::exchanging().await;
    users.exchange(KEY, Becomes::Token(claims("kim", HOUR)));
    let mut both = by_token(&world.issuer.token("anna", "customer"));
    both.metadata_mut().insert("x-api-key", KEY.parse().unwrap());
    let mut twice = by_key(KEY);
    twice.metadata_mut().append("x-api-key", KEY.parse().unwrap());
    let before = world.orders.calls();
    for request in [both, twice, by_key("no key"), by_key("")] {
        let refused = world.get_with(request).await.unwrap_err();
        assert_eq!(told(&refused), error(Code::Unauthenticated, "BAD_TOKEN"));
        assert!(!refused.message().contains(KEY));
    }
    assert_eq!((world.orders.calls(), users.asked(KEY)), (before, 0));
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_asked_about_once_in_a_while() {
    let (world, users) = World::exchanging().await;
    for _ in 0..3 {
        let refused = world.get_with(by_key("mwk_wrong")).await.unwrap_err();
        assert_eq!(told(&refused), error(Code::Unauthenticated, "BAD_TOKEN"));
        assert!(!refused.message().contains("mwk_wrong"));
    }
    assert_eq!(users.asked("mwk_wrong"), 1);
}

#[tokio::test]
async fn a_token_of_another_issuer_is_exchanged_and_ours_are_not() {
    let (world, users) = World::exchanging().await;
    let foreign = unsigned(r#"{"alg":"RS256","kid":"theirs"}"#, "https://login.example.com");
    users.exchange(&foreign, Becomes::Token(claims("kim", HOUR)));
    for _ in 0..2 {
        world.get_with(by_token(&foreign)).await.unwrap();
        assert_eq!(called_for(&world, &foreign), "users/kim");
    }
    assert_eq!(users.asked(&foreign), 1);
    // Unknown to the users service, and never accepted for what it says of itself.
    let none = unsigned(r#"{"alg":"none"}"#, "https://login.example.com");
    let forged = [r#"{"alg":"none"}"#, r#"{"alg":"EdDSA","kid":"test-key"}"#].map(|head| unsigned(head, "meshwork"));
    let stranger = Issuer::start().await.token("root", "staff");
    let before = world.orders.calls();
    for token in forged.iter().chain([&none, &stranger]) {
        let refused = world.get_with(by_token(token)).await.unwrap_err();
        assert_eq!(told(&refused), error(Code::Unauthenticated, "BAD_TOKEN"), "{token}");
    }
    assert_eq!(world.orders.calls(), before);
    assert_eq!(users.asked(&none), 1);
    assert!(
        forged.iter().chain([&stranger]).all(|token| users.asked(token) == 0),
        "what claims to be ours is not asked about"
    );
    assert_eq!(world.get("anna", "orders/a").await.unwrap().name, "orders/a");
}

#[tokio::test]
async fn without_the_users_service_what_is_known_goes_on_and_the_rest_is_unavailable() {
    let (world, users) = World::exchanging().await;
    users.exchange(KEY, Becomes::Token(claims("kim", HOUR)));
    world.get_with(by_key(KEY)).await.unwrap();
    users.kill();
    eventually(async || {
        let refused = world.get_with(by_key("mwk_other")).await.unwrap_err();
        assert_ne!(refused.code(), Code::Ok);
        (refused.code() == Code::Unavailable).then_some(())
    })
    .await;
    let refused = world.get_with(by_key("mwk_another")).await.unwrap_err();
    assert_eq!(told(&refused), error(Code::Unavailable, "KEYS_UNAVAILABLE"));
    assert!(refused.get_details_retry_info().unwrap().retry_delay.is_some());
    world.get_with(by_key(KEY)).await.unwrap();
    world.get("anna", "orders/a").await.unwrap();
}

#[tokio::test]
async fn what_the_users_service_gives_is_believed_as_far_as_it_is_signed() {
    let (world, users) = World::exchanging().await;
    let stranger = Issuer::start().await.token("root", "staff");
    let expired = world.issuer.sign(&Claims { iat: 1, exp: 2, ..claims("kim", HOUR) });
    for (at, text) in ["nothing", &stranger, &expired, ""].into_iter().enumerate() {
        let key = format!("mwk_{at}");
        users.exchange(&key, Becomes::Text(text.to_owned()));
        let refused = world.get_with(by_key(&key)).await.unwrap_err();
        assert_eq!(told(&refused), error(Code::Unavailable, "KEYS_UNAVAILABLE"), "{text}");
    }
}

#[tokio::test]
async fn an_exchange_ends_with_its_token_and_a_revoked_key_with_it() {
    let (world, users) = World::exchanging().await;
    users.exchange(KEY, Becomes::Token(claims("kim", Duration::from_secs(2))));
    world.get_with(by_key(KEY)).await.unwrap();
    users.exchange(KEY, Becomes::Token(claims("kim", Duration::from_secs(3))));
    eventually(async || {
        world.get_with(by_key(KEY)).await.unwrap();
        (users.asked(KEY) > 1).then_some(())
    })
    .await;
    users.revoke(KEY);
    let refused = eventually(async || world.get_with(by_key(KEY)).await.err()).await;
    assert_eq!(told(&refused), error(Code::Unauthenticated, "BAD_TOKEN"));
}

/// Makes calls from one address, each with a key of its own, that wait for the users service.
fn waiting(channel: &tonic::transport::Channel, users: &Users, count: usize) -> JoinSet<Result<Order, Status>> {
    let mut calls = JoinSet::new();
    for at in 0..count {
        let key = format!("mwk_flood_{at}");
        users.exchange(&key, Becomes::Held(claims("mallory", HOUR)));
        let mut client = OrderServiceClient::new(channel.clone());
        calls.spawn(async move { client.get_order(by_key(&key)).await.map(tonic::Response::into_inner) });
    }
    calls
}

#[tokio::test]
async fn one_key_at_once_is_one_exchange() {
    let (world, users) = World::exchanging().await;
    users.exchange(KEY, Becomes::Held(claims("kim", HOUR)));
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let mut client = world.client();
        calls.spawn(async move { client.get_order(by_key(KEY)).await.map(drop) });
    }
    eventually(async || (users.asked(KEY) > 0).then_some(())).await;
    users.exchanges.released.send_replace(true);
    assert!(calls.join_all().await.iter().all(Result::is_ok));
    assert_eq!(users.asked(KEY), 1);
}

#[tokio::test]
async fn a_flood_of_keys_from_one_address_leaves_others_alone() {
    let (world, users) = World::exchanging().await;
    users.exchange(KEY, Becomes::Token(claims("kim", HOUR)));
    let mut flood = waiting(&channel(&world.target, "127.0.0.2").await, &users, 150);
    let refused = flood.join_next().await.unwrap().unwrap().unwrap_err();
    assert_eq!(told(&refused), error(Code::ResourceExhausted, "TOO_MANY_EXCHANGES"));
    assert!(refused.get_details_retry_info().is_some());
    let mut other = OrderServiceClient::new(channel(&world.target, "127.0.0.3").await);
    other.get_order(by_key(KEY)).await.unwrap();
    assert_eq!(users.addresses(KEY), ["127.0.0.3"]);
    users.exchanges.released.send_replace(true);
    let passed = flood.join_all().await.iter().filter(|end| end.is_ok()).count();
    assert_eq!(passed, 64, "as many as one address may have waiting");
}

#[tokio::test]
async fn too_many_attempts_are_told_as_the_users_service_tells_them() {
    let (world, users) = World::exchanging().await;
    let mut details = ErrorDetails::with_error_info("TOO_MANY_ATTEMPTS", "users.meshwork.dev", []);
    details.set_retry_info(Some(Duration::from_secs(7)));
    let status = Status::with_error_details(Code::ResourceExhausted, "too many attempts", details);
    users.exchange(KEY, Becomes::Error(status));
    let refused = world.get_with(by_key(KEY)).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::ResourceExhausted, "too many attempts"));
    assert_eq!(refused.get_details_error_info().unwrap().reason, "TOO_MANY_ATTEMPTS");
    assert_eq!(refused.metadata().get("grpc-retry-pushback-ms").unwrap(), "7000");
    // It is not kept: the next attempt is counted too.
    world.get_with(by_key(KEY)).await.unwrap_err();
    assert_eq!(users.asked(KEY), 2);
}

#[tokio::test]
async fn without_exchange_no_key_is_taken_or_goes_further() {
    let world = World::changed(|config| config.exchange = false).await;
    let before = world.orders.calls();
    let refused = world.get_with(by_token(KEY)).await.unwrap_err();
    assert_eq!(told(&refused), error(Code::Unauthenticated, "BAD_TOKEN"));
    let refused = world.get_with(by_key(KEY)).await.unwrap_err();
    assert_eq!(told(&refused), error(Code::Unauthenticated, "NOT_SIGNED_IN"));
    assert_eq!(world.orders.calls(), before);
    let mut both = by_token(&world.issuer.token("anna", "customer"));
    both.metadata_mut().insert("x-api-key", KEY.parse().unwrap());
    world.get_with(both).await.unwrap();
    assert_eq!(called_for(&world, KEY), "users/anna");
}
