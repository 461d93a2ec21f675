//! Headers at their limits, and those that don't pass.

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use http_body_util::Full;
use meshwork::Server;
use meshwork::server::auth::Principal;
use tonic::body::Body;
use tonic::{Code, Request};
use tower::ServiceExt as _;

use crate::support::{UNARY, World};

#[tokio::test(start_paused = true)]
async fn s16_an_upstream_that_takes_more_than_the_proxy_takes_all_that_the_proxy_passes() {
    let world = World::with(Server::builder().max_header_list_size(24 << 10));
    let (mut passed, mut refused) = (0, 0);
    for size in (14_000..17_000).step_by(20) {
        let mut request = Request::new(String::new());
        request.metadata_mut().insert("x-large", "x".repeat(size).parse().unwrap());
        match world.unary(request).await {
            Ok(_) => passed += 1,
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{size}: {status:?}");
                assert!(!status.message().contains("echo"), "{size}: {status:?}");
                refused += 1;
            }
        }
    }
    assert!(passed > 0 && refused > 0, "{passed} have passed, {refused} were refused");
    assert_eq!(world.echo.calls(), passed);
}

#[tokio::test(start_paused = true)]
async fn metadata_that_the_upstream_refuses_is_beyond_a_limit_and_harms_no_other_call() {
    let world = World::with(Server::builder().max_header_list_size(8 << 10));
    for _ in 0..20 {
        let mut request = Request::new(String::new());
        request.metadata_mut().insert("x-large", "x".repeat(12_000).parse().unwrap());
        let status = world.unary(request).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    }
    assert_eq!(world.unary(Request::new("small".to_owned())).await.unwrap().into_inner(), "small");
}

#[tokio::test(start_paused = true)]
async fn headers_of_the_callers_connection_stay_behind() {
    let world = World::start();
    let request = http::Request::post(format!("http://proxy{UNARY}"))
        .header(CONTENT_TYPE, "application/grpc")
        // A caller can't take away what the routes add.
        .header("connection", "x-this-hop, x-passed-by")
        .header("x-this-hop", "1")
        .header("keep-alive", "timeout=5")
        .header("host", "proxy")
        .header("te", "gzip")
        .header("x-call", "1")
        .body(Body::new(Full::new(Bytes::from_static(&[0; 5]))))
        .unwrap();
    let response = world.proxy.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers().get("x-answer").unwrap(), "yes");
    let head = world.echo.last_head();
    for name in ["connection", "x-this-hop", "keep-alive", "host"] {
        assert!(!head.contains_key(name), "{name}");
    }
    assert_eq!(head.get("te").unwrap(), "trailers");
    assert_eq!(head.get("x-call").unwrap(), "1");
    assert_eq!(head.get("x-passed-by").unwrap(), "proxy");
}

#[tokio::test(start_paused = true)]
async fn credentials_that_are_forwarded_for_a_caller_take_the_place_of_its_own() {
    let world = World::start();
    let call = async |principal: Option<Principal>| {
        let mut request = http::Request::post(format!("http://proxy{UNARY}"))
            .header(CONTENT_TYPE, "application/grpc")
            .header("authorization", "Bearer key")
            .body(Body::new(Full::new(Bytes::from_static(&[0; 5]))))
            .unwrap();
        if let Some(principal) = principal {
            request.extensions_mut().insert(principal);
        }
        world.proxy.clone().oneshot(request).await.unwrap();
        world.echo.last_head().get_all("authorization").iter().cloned().collect::<Vec<_>>()
    };
    let anna = Principal::new("users/anna", ["customer"]);
    assert_eq!(call(None).await, ["Bearer key"]);
    assert_eq!(call(Some(anna.clone())).await, ["Bearer key"]);
    let exchanged = anna.with_forwarded_credentials(HeaderValue::from_static("Bearer token"));
    assert_eq!(call(Some(exchanged)).await, ["Bearer token"]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_exchanged_goes_no_further() {
    let world = World::start();
    let call = async |principal: Principal| {
        let mut request = http::Request::post(format!("http://proxy{UNARY}"))
            .header(CONTENT_TYPE, "application/grpc")
            .header("x-api-key", "key")
            .header("cookie", "a=b")
            .body(Body::new(Full::new(Bytes::from_static(&[0; 5]))))
            .unwrap();
        request.extensions_mut().insert(principal);
        world.proxy.clone().oneshot(request).await.unwrap();
        let head = world.echo.last_head();
        ["authorization", "x-api-key", "cookie"].map(|name| head.get(name).cloned())
    };
    let value = |text| Some(HeaderValue::from_static(text));
    let anna = Principal::new("users/anna", ["customer"]);
    assert_eq!(call(anna.clone()).await, [None, value("key"), value("a=b")]);
    let exchanged = anna.with_forwarded_credentials(HeaderValue::from_static("Bearer token"));
    assert_eq!(call(exchanged).await, [value("Bearer token"), None, value("a=b")]);
}
