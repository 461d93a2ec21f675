//! What the two layers admit, what they refuse, and how.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use meshwork::server::auth::{
    Access, AccessTable, Authenticated, AuthenticationLayer, Authenticator, AuthorizationLayer, JwtAuthenticator,
    Principal, Refused,
};
use meshwork::server::{Budgets, CallerLimits, Domain, Limits, Peer, Resource};
use serde_json::json;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::issuer::{Mood, Source, builder, one_key};

const DOMAIN: &str = "tests.example.com";

fn table() -> AccessTable {
    AccessTable::new()
        .method("/shop.v1.Orders/Public", Access::Public)
        .method("/shop.v1.Orders/Own", Access::Authenticated)
        .method("/shop.v1.Orders/Ship", Access::roles(["staff", "service"]))
        .method("/shop.v1.Orders/Closed", Access::Roles(std::collections::BTreeSet::new()))
}

/// Calls through both layers: whom the handler saw, or the status that refused the call.
async fn through(
    authenticator: &JwtAuthenticator,
    table: AccessTable,
    path: &str,
    authorization: &[&str],
) -> Result<Option<Principal>, Status> {
    let handler = service_fn(|request: Request<Body>| {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(request.extensions().get::<Principal>().cloned());
        ready(Ok::<_, Infallible>(response))
    });
    let authorized = AuthorizationLayer::new(table, Domain::new(DOMAIN)).layer(handler);
    let service = AuthenticationLayer::new(Arc::new(authenticator.clone())).layer(authorized);
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = format!("http://localhost{path}").parse().unwrap();
    for value in authorization {
        request.headers_mut().append("authorization", value.parse().unwrap());
    }
    let response = service.oneshot(request).await.unwrap();
    match response.extensions().get::<Option<Principal>>() {
        Some(seen) => Ok(seen.clone()),
        None => {
            assert!(response.extensions().get::<Refused>().is_some(), "a refusal is marked");
            Err(Status::from_header_map(response.headers()).unwrap())
        }
    }
}

fn told(status: &Status) -> (Code, String, String) {
    let info = status.get_error_details().error_info().cloned().unwrap();
    (status.code(), info.domain, info.reason)
}

fn because(code: Code, reason: &str) -> (Code, String, String) {
    (code, DOMAIN.to_owned(), reason.to_owned())
}

fn authenticator(source: &Source) -> JwtAuthenticator {
    builder(source).domain(Domain::new(DOMAIN)).build()
}

#[tokio::test(start_paused = true)]
async fn who_may_call_what_is_as_the_table_says() {
    let (source, signer) = one_key();
    let authenticator = authenticator(&source);
    let bearer = |role: &str| format!("Bearer {}", signer.token(&json!({ "role": role })));
    let (customer, staff) = (bearer("customer"), bearer("staff"));
    let not_signed_in = because(Code::Unauthenticated, "NOT_SIGNED_IN");
    let not_allowed = because(Code::PermissionDenied, "NOT_ALLOWED");
    for (method, anonymous, of_customer, of_staff) in [
        ("Public", None, None, None),
        ("Own", Some(&not_signed_in), None, None),
        ("Ship", Some(&not_signed_in), Some(&not_allowed), None),
        ("Closed", Some(&not_signed_in), Some(&not_allowed), Some(&not_allowed)),
        ("Forgotten", Some(&not_signed_in), Some(&not_allowed), Some(&not_allowed)),
    ] {
        let path = format!("/shop.v1.Orders/{method}");
        for (tokens, expected, role) in [
            (&[][..], anonymous, None),
            (&[customer.as_str()], of_customer, Some("customer")),
            (&[staff.as_str()], of_staff, Some("staff")),
        ] {
            match through(&authenticator, table(), &path, tokens).await {
                Ok(seen) => {
                    assert_eq!(expected, None, "{path} admitted {role:?}");
                    assert_eq!(seen, role.map(|role| Principal::new("users/anna", [role])));
                }
                Err(status) => assert_eq!(Some(&told(&status)), expected, "{path} of {role:?}"),
            }
        }
    }
    let refused = through(&authenticator, table(), "/shop.v1.Orders/Ship", &[&customer]).await.unwrap_err();
    assert_eq!(refused.message(), "the role customer may not call this method");
    assert_eq!(refused.get_error_details().error_info().unwrap().metadata["role"], "customer");
}

#[tokio::test(start_paused = true)]
async fn s9_what_the_table_does_not_know_is_refused() {
    let (source, signer) = one_key();
    let authenticator = authenticator(&source);
    let staff = format!("Bearer {}", signer.token(&json!({ "role": "staff" })));
    for path in ["/other.v1.Other/Get", "/nothing", "/shop.v1.Order/Own", "/shop.v1.Orders/Forgotten"] {
        let refused = through(&authenticator, table(), path, &[]).await.unwrap_err();
        assert_eq!(told(&refused), because(Code::Unauthenticated, "NOT_SIGNED_IN"), "{path}");
        let refused = through(&authenticator, table(), path, &[&staff]).await.unwrap_err();
        assert_eq!(told(&refused), because(Code::PermissionDenied, "NOT_ALLOWED"), "{path}");
        assert_eq!(refused.message(), "nobody may call this method");
    }
}

#[tokio::test(start_paused = true)]
async fn health_checks_and_reflection_pass_whatever_they_bear() {
    let (source, _) = one_key();
    let authenticator = authenticator(&source);
    for path in [
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ] {
        for tokens in [&[][..], &["Bearer nonsense"]] {
            assert_eq!(through(&authenticator, table(), path, tokens).await.unwrap(), None, "{path}");
        }
    }
    // What only looks like one doesn't.
    for path in ["/grpc.health.v1.Healthy/Check", "/x/grpc.health.v1.Health/Check", "/grpc.reflection.v1.Other/Get"] {
        assert!(through(&authenticator, table(), path, &[]).await.is_err(), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_credentials_are_refused_for_public_methods_too_and_never_shown() {
    let (source, signer) = one_key();
    let authenticator = authenticator(&source);
    let good = signer.good();
    let own = "/shop.v1.Orders/Own";
    for right in [format!("Bearer {good}"), format!("bearer  {good} "), format!("BEARER {good}")] {
        assert!(through(&authenticator, table(), own, &[&right]).await.is_ok(), "{right}");
    }
    let bearer = format!("Bearer {good}");
    let cut = &bearer[..bearer.len() - 4];
    let basic = format!("Basic {good}");
    for wrong in [&[good.as_str()][..], &[&basic], &[cut], &["Bearer"], &["Bearer "], &["\u{fc}"], &[&bearer, &bearer]]
    {
        for path in [own, "/shop.v1.Orders/Public"] {
            let refused = through(&authenticator, table(), path, wrong).await.unwrap_err();
            assert_eq!(told(&refused), because(Code::Unauthenticated, "BAD_TOKEN"), "{wrong:?}");
            let shown = format!("{refused:?}");
            assert!(!good.split('.').any(|part| shown.contains(part)), "the status shows the token: {shown}");
        }
    }
    assert!(!format!("{authenticator:?}").contains(&good));
}

#[tokio::test(start_paused = true)]
async fn without_keys_calls_read_when_to_come_again() {
    let (source, signer) = one_key();
    source.set(Mood::Fails);
    let authenticator = authenticator(&source);
    let bearer = format!("Bearer {}", signer.good());
    let refused = through(&authenticator, table(), "/shop.v1.Orders/Own", &[&bearer]).await.unwrap_err();
    assert_eq!(told(&refused), because(Code::Unavailable, "KEYS_UNAVAILABLE"));
    let details = refused.get_error_details();
    assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(1)));
    // No pushback: another server may have the keys.
    assert!(refused.metadata().get("grpc-retry-pushback-ms").is_none());
    // Who has no token needs no keys.
    assert_eq!(through(&authenticator, table(), "/shop.v1.Orders/Public", &[]).await.unwrap(), None);
}

/// Remembers whom it is asked about, and has nobody else.
struct Remembers(Result<Option<Principal>, Status>);

impl Authenticator for Remembers {
    fn authenticate(&self, _: &HeaderMap, _: Option<&Peer>) -> Authenticated {
        panic!("asked for what it has recalled")
    }

    fn recall(&self, _: &HeaderMap, _: Option<&Peer>) -> Option<Result<Option<Principal>, Status>> {
        Some(self.0.clone())
    }
}

#[tokio::test]
async fn s5_what_is_recalled_is_not_verified() {
    let anna = Principal::new("users/anna", ["customer"]);
    for recalled in [Ok(Some(anna)), Ok(None), Err(Status::unauthenticated("no"))] {
        let handler = service_fn(|request: Request<Body>| {
            let mut response = Response::new(Body::empty());
            response.extensions_mut().insert(request.extensions().get::<Principal>().cloned());
            ready(Ok::<_, Infallible>(response))
        });
        let service = AuthenticationLayer::new(Arc::new(Remembers(recalled.clone()))).layer(handler);
        let response = service.oneshot(Request::new(Body::empty())).await.unwrap();
        let seen = response.extensions().get::<Option<Principal>>().cloned();
        assert_eq!(seen, recalled.ok());
        assert_eq!(response.extensions().get::<Refused>().is_some(), seen.is_none());
    }
}

/// Asks somebody who never answers.
struct NeverVerifies;

impl Authenticator for NeverVerifies {
    fn authenticate(&self, _: &HeaderMap, _: Option<&Peer>) -> Authenticated {
        Authenticated::Later(Box::pin(std::future::pending()))
    }
}

#[tokio::test(start_paused = true)]
async fn s5_calls_that_wait_for_a_verification_have_a_limit_and_a_time() {
    let limits = CallerLimits { total: 10 << 10, ..CallerLimits::default() };
    let budgets = Budgets::new(Limits::default().with(Resource::ArrivingBytes, limits));
    let handler = service_fn(|_: Request<Body>| ready(Ok::<_, Infallible>(Response::new(Body::empty()))));
    let layer = AuthenticationLayer::new(Arc::new(NeverVerifies)).budgets(budgets.clone()).domain(Domain::new(DOMAIN));
    let service = layer.layer(handler);
    let begun = tokio::time::Instant::now();
    let calls = (0..100).map(|_| service.clone().oneshot(Request::new(Body::empty())));
    let answers = futures_util::future::join_all(calls).await;
    let statuses = answers.iter().map(|answer| Status::from_header_map(answer.as_ref().unwrap().headers()).unwrap());
    let reasons: Vec<_> = statuses.map(|status| told(&status)).collect();
    let count = |expected: (Code, String, String)| reasons.iter().filter(|reason| **reason == expected).count();
    let waited = count(because(Code::Unavailable, "KEYS_UNAVAILABLE"));
    let refused = count(because(Code::ResourceExhausted, "TOO_MANY_BYTES"));
    assert!((1..=5).contains(&waited) && waited + refused == 100, "{reasons:?}");
    assert_eq!(begun.elapsed().as_secs(), 10);
    assert_eq!(budgets.in_use(Resource::ArrivingBytes), 0);
}

#[tokio::test(start_paused = true)]
async fn by_default_everybody_is_unknown_and_may_call_everything() {
    let handler = service_fn(|request: Request<Body>| {
        assert!(request.extensions().get::<Principal>().is_none());
        ready(Ok::<_, Infallible>(Response::new(Body::empty())))
    });
    let service = AuthenticationLayer::default().layer(AuthorizationLayer::default().layer(handler));
    let request = Request::builder().uri("/any.Service/Get").header("authorization", "Bearer x");
    let response = service.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert!(response.extensions().get::<Refused>().is_none());
}
