//! Callers whose credentials are restricted to some methods.

use std::sync::Arc;

use http::HeaderMap;
use meshwork::Server;
use meshwork::server::auth::{Access, AccessTable, Authenticated, Authenticator, Principal};
use meshwork::server::{Builder, Domain, Peer};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use crate::support::{LARGE, Running, SLEEP, UNARY, send};

/// Everybody is anna, restricted to what `x-scopes` says.
struct Scoped;

impl Authenticator for Scoped {
    fn authenticate(&self, headers: &HeaderMap, _: Option<&Peer>) -> Authenticated {
        let anna = Principal::new("anna", ["customer"]);
        Authenticated::Now(Ok(Some(match headers.get("x-scopes") {
            Some(scopes) => anna.with_scopes(scopes.to_str().unwrap().split_ascii_whitespace()),
            None => anna,
        })))
    }
}

fn scoped(scopes: Option<&str>) -> Request<String> {
    let mut request = Request::new("1".to_owned());
    if let Some(scopes) = scopes {
        request.metadata_mut().insert("x-scopes", scopes.parse().unwrap());
    }
    request
}

fn start(builder: Builder) -> Running {
    Running::start(builder.authenticator(Arc::new(Scoped)).domain(Domain::new("test.example")))
}

fn said(status: &Status) -> (Code, String, String) {
    let info = status.get_details_error_info().unwrap();
    let method = info.metadata.get("method").cloned().unwrap_or_default();
    (status.code(), format!("{}/{}", info.domain, info.reason), method)
}

fn missing(method: &str) -> (Code, String, String) {
    (Code::PermissionDenied, "test.example/SCOPE_MISSING".to_owned(), method.to_owned())
}

#[tokio::test(start_paused = true)]
async fn scopes_restrict_calls_of_every_method_whoever_may_call_it() {
    let table = AccessTable::new().method(UNARY, Access::Public).method(SLEEP, Access::Authenticated);
    for builder in [Server::builder(), Server::builder().access(table)] {
        let server = start(builder);
        let channel = server.channel();
        for scopes in [None, Some("test.Echo"), Some("openid test.Echo/Unary test.Echo/Sleep")] {
            for path in [UNARY, SLEEP] {
                assert!(send(&channel, path, scoped(scopes)).await.is_ok(), "{path} by {scopes:?}");
            }
        }
        for scopes in ["", "openid", "test.Echo/Sleep", "test.Ech", "test.Echo/UnaryToo"] {
            let status = send(&channel, UNARY, scoped(Some(scopes))).await.unwrap_err();
            assert_eq!(said(&status), missing("test.Echo/Unary"), "{scopes:?}");
        }
        // Health is for everybody.
        let mut check = Request::new(HealthCheckRequest::default());
        check.metadata_mut().insert("x-scopes", "nothing".parse().unwrap());
        HealthClient::new(channel).check(check).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_scope_gives_nobody_what_a_method_asks_of_roles() {
    let table = AccessTable::new().method(UNARY, Access::roles(["staff"]));
    let server = start(Server::builder().access(table));
    let channel = server.channel();
    for path in [UNARY, LARGE] {
        let status = send(&channel, path, scoped(Some("test.Echo"))).await.unwrap_err();
        assert_eq!(said(&status).1, "test.example/NOT_ALLOWED", "{path}");
    }
}
