//! What a token says of its principal: until when it holds, and what it is restricted to.

use std::convert::Infallible;
use std::future::ready;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Request, Response};
use meshwork::server::Domain;
use meshwork::server::auth::jwt::TokenError;
use meshwork::server::auth::{Access, AccessTable, Authenticator as _, AuthorizationLayer, Principal, Refused};
use serde_json::{Value, json};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::issuer::{BEGIN, LIFE, SKEW, at, builder, one_key};

fn seconds(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_principal_expires_with_its_token_the_skew_of_clocks_included() {
    let (source, signer) = one_key();
    let authenticator = at(&source, 7);
    let principal = authenticator.verify(&signer.good()).await.unwrap();
    assert_eq!(principal.expires_at(), Some(seconds(BEGIN + LIFE + SKEW)));
    assert_eq!(authenticator.now(), seconds(BEGIN + 7));
    // A time that no clock can tell never comes.
    let endless = authenticator.verify(&signer.token(&json!({ "exp": u64::MAX }))).await.unwrap();
    assert!(endless.expires_at().is_none_or(|at| at > seconds(BEGIN + (1 << 40))));
}

#[tokio::test(start_paused = true)]
async fn a_principal_may_expire_before_its_token_and_not_after() {
    let (source, signer) = one_key();
    for (own, expected) in [(BEGIN + 10, BEGIN + 10), (BEGIN + 10_000, BEGIN + LIFE + SKEW)] {
        let map = move |_: &_| Some(Principal::new("users/anna", ["customer"]).with_expiry(seconds(own)));
        let principal = builder(&source).principal(map).build().verify(&signer.good()).await.unwrap();
        assert_eq!(principal.expires_at(), Some(seconds(expected)));
    }
}

#[tokio::test(start_paused = true)]
async fn the_claim_scope_restricts_where_the_builder_says_so() {
    let (source, signer) = one_key();
    let (open, restricted) = (builder(&source).build(), builder(&source).scopes(true).build());
    let scopes = |principal: &Principal| principal.scopes().map(|scopes| scopes.map(str::to_owned).collect::<Vec<_>>());
    let token = |scope: Value| signer.token(&json!({ "scope": scope }));
    let read = token(json!("shop.v1.Orders/Get  shop.v1.Products"));
    assert_eq!(scopes(&open.verify(&read).await.unwrap()), None);
    let expected = ["shop.v1.Orders/Get", "shop.v1.Products"].map(str::to_owned);
    assert_eq!(scopes(&restricted.verify(&read).await.unwrap()), Some(expected.to_vec()));
    assert_eq!(scopes(&restricted.verify(&token(json!(""))).await.unwrap()), Some(Vec::new()));
    assert_eq!(scopes(&restricted.verify(&signer.good()).await.unwrap()), None);
    // What restricts is not passed over for being malformed.
    for bad in [json!(["shop.v1.Orders"]), json!(7), json!(true), json!({})] {
        assert_eq!(restricted.verify(&token(bad.clone())).await, Err(TokenError::Invalid), "{bad}");
        assert!(open.verify(&token(bad)).await.is_ok());
    }
    let own = |_: &_| Some(Principal::new("users/anna", ["customer"]).with_scopes(["shop.v1.Carts"]));
    let own = builder(&source).principal(own).scopes(true).build();
    assert_eq!(scopes(&own.verify(&read).await.unwrap()), Some(vec!["shop.v1.Carts".to_owned()]));
}

/// What the layer makes of a call by `principal`.
async fn authorized(layer: &AuthorizationLayer, path: &str, principal: Option<&Principal>) -> Result<(), Status> {
    let handler = service_fn(|_: Request<Body>| {
        let mut response = Response::new(Body::empty());
        response.headers_mut().insert("reached", "yes".parse().unwrap());
        ready(Ok::<_, Infallible>(response))
    });
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path.parse().unwrap();
    if let Some(principal) = principal {
        request.extensions_mut().insert(principal.clone());
    }
    let response = layer.layer(handler).oneshot(request).await.unwrap();
    if response.headers().contains_key("reached") {
        return Ok(());
    }
    assert!(response.extensions().get::<Refused>().is_some(), "a refusal is marked");
    Err(Status::from_header_map(response.headers()).unwrap())
}

#[tokio::test]
async fn the_layer_holds_principals_to_their_scopes_with_and_without_a_table() {
    let table = AccessTable::new().method("/shop.v1.Orders/Get", Access::Public);
    let table = table.method("/shop.v1.Orders/Place", Access::Public);
    let reader = Principal::new("users/anna", ["customer"]).with_scopes(["shop.v1.Orders/Get"]);
    for layer in [AuthorizationLayer::new(table, Domain::new("tests.example.com")), AuthorizationLayer::default()] {
        authorized(&layer, "/shop.v1.Orders/Get", Some(&reader)).await.unwrap();
        authorized(&layer, "/shop.v1.Orders/Place", None).await.unwrap();
        for open in ["/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"] {
            authorized(&layer, open, Some(&reader)).await.unwrap();
        }
        let status = authorized(&layer, "/shop.v1.Orders/Place", Some(&reader)).await.unwrap_err();
        let info = status.get_details_error_info().unwrap();
        assert_eq!((status.code(), info.reason.as_str()), (Code::PermissionDenied, "SCOPE_MISSING"));
        assert_eq!(info.metadata["method"], "shop.v1.Orders/Place");
        let sentence =
            "the key or token of this call is restricted to other methods; use one whose scopes have this method";
        assert_eq!(status.message(), sentence);
    }
}
