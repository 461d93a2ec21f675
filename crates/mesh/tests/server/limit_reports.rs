//! What answers say of the limits that their calls were held to.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Response};
use meshwork::Server;
use meshwork::server::auth::{Access, AccessTable, Principal};
use meshwork::server::rate::{AddressShare, Key, Plans, Rate, RateLimitLayer, RateLimiter, Rule};
use meshwork::server::{Builder, Domain};
use tonic::Code;
use tonic::body::Body;
use tower::layer::layer_fn;
use tower::util::MapResponse;

use crate::clients::{Named, Tcp};
use crate::support::{Running, SLEEP, STREAM, UNARY};
use crate::wire::{Answer, Wire, head};

const DAY: Duration = Duration::from_secs(86_400);
const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

fn rule(name: &'static str, burst: u64) -> Rule {
    Rule::new(name, Rate::new(burst, 1, DAY).unwrap())
}

fn limit(rules: impl IntoIterator<Item = Rule>) -> RateLimitLayer {
    RateLimitLayer::new(RateLimiter::in_process(), rules, Domain::default()).report(true)
}

fn builder() -> Builder {
    Server::builder().authenticator(Arc::new(Named))
}

/// The code of a call, and what its head says of limits: the policies, and what is left.
async fn call(wire: &Wire, path: &str, name: Option<&str>) -> (Code, Option<String>, Option<String>) {
    let mut request = head(path);
    if let Some(name) = name {
        request = request.header("x-name", name);
    }
    let answer = wire.call(request, "1").await.unwrap();
    let answer = Answer::read(answer, AT_ONCE).await.unwrap();
    let says = |name: &str| {
        let mut values = answer.head.headers.get_all(name).iter();
        let value = values.next().map(|value| value.to_str().unwrap().to_owned());
        assert!(values.next().is_none(), "{name} is said twice");
        value
    };
    (answer.status().code(), says("ratelimit-policy"), says("ratelimit"))
}

fn said(code: Code, policy: &str, limit: &str) -> (Code, Option<String>, Option<String>) {
    (code, Some(policy.to_owned()), Some(limit.to_owned()))
}

#[tokio::test(start_paused = true)]
async fn answers_and_refusals_say_what_is_left_of_the_callers_own() {
    let server = Running::start(builder().limit_by_principal(limit([rule("calls", 2)])));
    let wire = Wire::new(server.connect().await).await;
    let policy = r#""calls";q=2;w=172800"#;
    assert_eq!(call(&wire, UNARY, Some("anna")).await, said(Code::Ok, policy, r#""calls";r=1;t=86400"#));
    assert_eq!(call(&wire, SLEEP, Some("anna")).await, said(Code::Ok, policy, r#""calls";r=0;t=172800"#));
    let refused = said(Code::ResourceExhausted, policy, r#""calls";r=0;t=86400"#);
    assert_eq!(call(&wire, UNARY, Some("anna")).await, refused);
    // Another caller has what it had.
    assert_eq!(call(&wire, UNARY, Some("bert")).await, said(Code::Ok, policy, r#""calls";r=1;t=86400"#));
    // A call that its handler fails was admitted as well.
    let failed = said(Code::Unimplemented, policy, r#""calls";r=0;t=172800"#);
    assert_eq!(call(&wire, "/test.Echo/Absent", Some("bert")).await, failed);
    // Nobody counts checks of health.
    let (_, policy, limit) = call(&wire, "/grpc.health.v1.Health/Check", Some("bert")).await;
    assert_eq!((policy, limit), (None, None));
}

#[tokio::test(start_paused = true)]
async fn the_bucket_with_the_fewest_calls_left_is_told_of_and_all_that_count() {
    let rules = [rule("calls", 3), rule("writes", 2).methods([&UNARY[1..]])];
    let server = Running::start(builder().limit_by_principal(limit(rules)));
    let wire = Wire::new(server.connect().await).await;
    let both = r#""calls";q=3;w=259200, "writes";q=2;w=172800"#;
    assert_eq!(call(&wire, UNARY, Some("anna")).await, said(Code::Ok, both, r#""writes";r=1;t=86400"#));
    let one = r#""calls";q=3;w=259200"#;
    assert_eq!(call(&wire, SLEEP, Some("anna")).await, said(Code::Ok, one, r#""calls";r=1;t=172800"#));
    assert_eq!(call(&wire, UNARY, Some("anna")).await, said(Code::Ok, both, r#""calls";r=0;t=259200"#));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_unless_the_server_is_told_to() {
    let silent = RateLimitLayer::new(RateLimiter::in_process(), [rule("calls", 1)], Domain::default());
    let server = Running::start(builder().limit_by_principal(silent.report(true).report(false)));
    let wire = Wire::new(server.connect().await).await;
    assert_eq!(call(&wire, UNARY, Some("anna")).await, (Code::Ok, None, None));
    assert_eq!(call(&wire, UNARY, Some("anna")).await, (Code::ResourceExhausted, None, None));
}

#[tokio::test(start_paused = true)]
async fn what_handlers_say_under_these_names_is_replaced_or_removed() {
    let layer = layer_fn(|routes| {
        MapResponse::new(routes, |mut response: Response<Body>| {
            let headers: &mut HeaderMap = response.headers_mut();
            for name in ["ratelimit", "ratelimit-policy"] {
                headers.append(name, HeaderValue::from_static("theirs"));
                headers.append(name, HeaderValue::from_static("theirs too"));
            }
            response
        })
    });
    let rule = rule("calls", 9).methods([&UNARY[1..]]);
    let server = Running::start_layered(builder().limit_by_principal(limit([rule])).layer(layer));
    let wire = Wire::new(server.connect().await).await;
    let policy = r#""calls";q=9;w=777600"#;
    assert_eq!(call(&wire, UNARY, Some("anna")).await, said(Code::Ok, policy, r#""calls";r=8;t=86400"#));
    assert_eq!(call(&wire, SLEEP, Some("anna")).await, (Code::Ok, None, None));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_address_says_what_the_address_has() {
    let table = AccessTable::new().method(UNARY, Access::Authenticated);
    let by_address = limit([rule("refusals", 2).key(Key::Address)]).counting_refusals();
    let by_principal = limit([rule("calls", 5).key(Key::Principal).methods([&UNARY[1..]])]);
    let builder = builder().access(table).limit_by_address(by_address).limit_by_principal(by_principal);
    let server = Running::start(builder);
    let wire = Wire::new(server.connect().await).await;
    let policy = r#""refusals";q=2;w=172800"#;
    let left = |limit| said(Code::Unauthenticated, policy, limit);
    let calls = r#""calls";q=5;w=432000"#;
    assert_eq!(call(&wire, UNARY, Some("anna")).await, said(Code::Ok, calls, r#""calls";r=4;t=86400"#));
    assert_eq!(call(&wire, UNARY, None).await, left(r#""refusals";r=1;t=86400"#));
    assert_eq!(call(&wire, UNARY, None).await, left(r#""refusals";r=0;t=172800"#));
    // Nobody's credentials are looked at any more, unless they are remembered.
    for name in [None, Some("anna")] {
        let refused = said(Code::ResourceExhausted, policy, r#""refusals";r=0;t=86400"#);
        assert_eq!(call(&wire, UNARY, name).await, refused, "{name:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_head_of_a_stream_says_it() {
    let server = Running::start(builder().limit_by_principal(limit([rule("calls", 2)])));
    let wire = Wire::new(server.connect().await).await;
    let answer = wire.call(head(STREAM).header("x-name", "anna"), "").await.unwrap();
    assert_eq!(answer.headers()["ratelimit-policy"], r#""calls";q=2;w=172800"#);
    assert_eq!(answer.headers()["ratelimit"], r#""calls";r=1;t=86400"#);
}

#[tokio::test]
async fn what_an_address_has_together_is_told_of_while_it_is_the_fewest() {
    let share = AddressShare::new(Rate::new(4, 1, DAY).unwrap());
    let limit = limit([rule("calls", 3)]).address_share(share);
    let server = Tcp::start(builder().limit_by_principal(limit)).await;
    let wire = Wire::new(server.connect(91).await).await;
    let policy = r#""calls";q=3;w=259200, "address";q=2;w=345600"#;
    assert_eq!(call(&wire, UNARY, Some("anna")).await, said(Code::Ok, policy, r#""address";r=1;t=172800"#));
    assert_eq!(call(&wire, UNARY, Some("anna")).await, said(Code::Ok, policy, r#""address";r=0;t=345600"#));
    // Its own turn, of its own.
    assert_eq!(call(&wire, UNARY, Some("anna")).await, said(Code::Ok, policy, r#""calls";r=0;t=259200"#));
}

/// The partner is on a plan, and others aren't.
struct Partners;

impl Plans for Partners {
    fn plan(&self, principal: Option<&Principal>) -> Option<&str> {
        (principal?.subject() == "partner").then_some("partner")
    }
}

#[tokio::test(start_paused = true)]
async fn callers_on_a_plan_have_its_limit_and_others_do_not_notice() {
    let rules = [rule("calls", 1), rule("calls", 3).plan("partner")];
    let server = Running::start(builder().limit_by_principal(limit(rules).plans(Arc::new(Partners))));
    let wire = Wire::new(server.connect().await).await;
    let (others, partners) = (r#""calls";q=1;w=86400"#, r#""calls";q=3;w=259200"#);
    for left in [r#""calls";r=2;t=86400"#, r#""calls";r=1;t=172800"#, r#""calls";r=0;t=259200"#] {
        assert_eq!(call(&wire, UNARY, Some("partner")).await, said(Code::Ok, partners, left));
    }
    let refused = call(&wire, UNARY, Some("partner")).await;
    assert_eq!(refused, said(Code::ResourceExhausted, partners, r#""calls";r=0;t=86400"#));
    for name in [Some("anna"), Some("bert"), None] {
        assert_eq!(call(&wire, UNARY, name).await, said(Code::Ok, others, r#""calls";r=0;t=86400"#), "{name:?}");
        let refused = said(Code::ResourceExhausted, others, r#""calls";r=0;t=86400"#);
        assert_eq!(call(&wire, UNARY, name).await, refused, "{name:?}");
    }
}
