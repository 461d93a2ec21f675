//! What passes through the gateway, and what doesn't.

use std::sync::Arc;
use std::time::Duration;

use meshwork::deadline::parse_timeout;
use meshwork::server::proxy::Proxy;
use meshwork_api::meshwork::orders::v1::GetOrderRequest;
use meshwork_api::meshwork::products::v1::product_service_client::ProductServiceClient;
use meshwork_api::meshwork::products::v1::{CreateProductRequest, ListProductsRequest};
use meshwork_chassis::consistency::{STALE, TOKEN};
use meshwork_chassis::{ClientConfig, Health};
use meshwork_gateway::Upstreams;
use meshwork_gateway::adapters::{BuiltIn, Edge, Gate, HealthMirror, RoutesFile, ServiceRoutes, UpstreamChannels};
use meshwork_gateway::app::App;
use meshwork_testkit::assert_small;
use meshwork_testkit::issuer::Claims;
use tonic::body::Body;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;
use tower::ServiceExt;

use crate::upstream::refusal;
use crate::world::{World, break_of, error, eventually, sign_in, told, with_token};

fn get(name: &str) -> GetOrderRequest {
    GetOrderRequest { name: name.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn a_call_its_metadata_and_its_deadline_pass_both_ways() {
    let world = World::start().await;
    let mut request = world.request("anna", get("orders/a"));
    let token = request.metadata().get("authorization").unwrap().clone();
    request.metadata_mut().insert("x-asked", "why".parse().unwrap());
    request.metadata_mut().insert_bin("x-asked-bin", MetadataValue::from_bytes(b"\x00\xff"));
    request.metadata_mut().insert("grpc-timeout", "900m".parse().unwrap());
    for forged in ["192.0.2.1", "192.0.2.2"] {
        request.metadata_mut().append("meshwork-client-address", forged.parse().unwrap());
    }
    let response = world.client().get_order(request).await.unwrap();
    assert_eq!(response.metadata().get("x-answer").unwrap(), "yes");
    assert_eq!(response.into_inner().name, "orders/a");
    let seen = world.orders.orders.seen.lock().unwrap().pop().unwrap();
    assert_eq!(seen.get("authorization").unwrap(), token);
    assert_eq!(seen.get("x-asked").unwrap(), "why");
    assert_eq!(seen.get_bin("x-asked-bin").unwrap().to_bytes().unwrap(), b"\x00\xff".as_slice());
    // What is left of it.
    let headers = seen.clone().into_headers();
    let left = parse_timeout(headers.get("grpc-timeout").unwrap()).unwrap();
    assert!(Duration::from_millis(100) < left && left <= Duration::from_millis(900), "{left:?}");
    assert_eq!(seen.get("te").unwrap(), "trailers");
    assert!(headers.get_all("meshwork-client-address").iter().eq(["127.0.0.1"]), "{headers:?}");
}

/// What a command has done is told by metadata; a query gets it back in metadata, and says by metadata that it is stale.
#[tokio::test]
async fn consistency_tokens_pass_both_ways() {
    let world = World::start().await;
    let mut request = world.request("anna", get("orders/a"));
    request.metadata_mut().insert(TOKEN, "MS4x".parse().unwrap());
    let response = world.client().get_order(request).await.unwrap();
    assert_eq!(world.orders.orders.seen.lock().unwrap().pop().unwrap().get(TOKEN).unwrap(), "MS4x");
    assert_eq!(response.metadata().get(TOKEN).unwrap(), "MC40Mg");
    assert_eq!(response.metadata().get(STALE).unwrap(), "true");
}

#[track_caller]
fn assert_is_refusal(status: &Status) {
    let expected = refusal();
    assert_eq!((status.code(), status.message()), (expected.code(), expected.message()));
    assert_eq!(status.details(), expected.details());
    assert_eq!(status.metadata().get("x-trailer").unwrap(), "told");
}

#[tokio::test]
async fn errors_of_services_pass_as_they_are() {
    let world = World::start().await;
    assert_is_refusal(&world.get("anna", "orders/refused").await.unwrap_err());
    let mut stream = world.client().watch_order(world.watch("orders/refused")).await.unwrap().into_inner();
    for number in ["1", "2", "3"] {
        assert_eq!(stream.message().await.unwrap().unwrap().resume_token, number);
    }
    assert_is_refusal(&stream.message().await.unwrap_err());
}

#[tokio::test]
async fn streams_pass_message_by_message_to_their_end() {
    let world = World::start().await;
    let mut stream = world.client().watch_order(world.watch("orders/a")).await.unwrap().into_inner();
    for number in ["1", "2", "3"] {
        assert_eq!(stream.message().await.unwrap().unwrap().resume_token, number);
    }
    assert!(stream.message().await.unwrap().is_none());
    // One that doesn't end delivers what it has.
    let mut stream = world.client().watch_order(world.watch("orders/endless")).await.unwrap().into_inner();
    for number in ["1", "2", "3"] {
        assert_eq!(stream.message().await.unwrap().unwrap().resume_token, number);
    }
}

#[tokio::test]
async fn s16_metadata_that_the_gateway_takes_its_services_take_and_the_rest_is_refused_at_the_edge() {
    let world = World::start().await;
    let before = world.orders.calls();
    let (mut passed, mut refused) = (0, 0);
    for size in (14_000..17_000).step_by(50) {
        let mut request = world.request("anna", get("orders/a"));
        request.metadata_mut().insert("x-large", "x".repeat(size).parse().unwrap());
        request.metadata_mut().insert("grpc-timeout", "99999999u".parse().unwrap());
        match world.get_with(request).await {
            Ok(_) => passed += 1,
            Err(status) => {
                let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
                assert!(!reason.starts_with("UPSTREAM_"), "{size}: {status:?}");
                refused += 1;
            }
        }
    }
    assert!(passed > 0 && refused > 0, "{passed} have passed, {refused} were refused");
    assert_eq!(world.orders.calls() - before, passed);
}

#[tokio::test]
async fn who_may_not_call_is_refused_at_the_edge() {
    let world = World::start().await;
    let before = world.orders.calls();
    let status = world.get_with(Request::new(get("orders/a"))).await.unwrap_err();
    assert_eq!(told(&status), error(Code::Unauthenticated, "NOT_SIGNED_IN"));
    let stale = world.issuer.sign(&Claims { exp: 1, ..Claims::of("anna", "customer") });
    let other = world.issuer.sign(&Claims { aud: "other".to_owned(), ..Claims::of("anna", "customer") });
    for token in ["", "nonsense", &stale, &other] {
        let status = world.get_with(with_token(token, get("orders/a"))).await.unwrap_err();
        assert_eq!(told(&status), error(Code::Unauthenticated, "BAD_TOKEN"), "{token}");
    }
    let mut products = ProductServiceClient::new(world.channel.clone());
    let status = products.create_product(world.request("anna", CreateProductRequest::default())).await.unwrap_err();
    assert_eq!(told(&status), error(Code::PermissionDenied, "NOT_ALLOWED"));
    assert_eq!(world.orders.calls(), before);
    sign_in(&world.channel).await.unwrap();
}

#[tokio::test]
async fn methods_that_nobody_has_are_unimplemented() {
    let world = World::start().await;
    for path in [
        "/no.such.Service/Method",
        "/grpc.no.such.Service/Method",
        "/meshwork.orders.v1.OrderService/NoSuchMethod",
        "/meshwork.orders.v9.OrderService/GetOrder",
        "/meshwork.events.v1.OrderCreated/Get",
    ] {
        let mut client = tonic::client::Grpc::new(world.channel.clone());
        client.ready().await.unwrap();
        let request = world.request("anna", ());
        let answer = client.unary::<(), (), _>(request, path.parse().unwrap(), ProstCodec::default()).await;
        let status = answer.unwrap_err();
        assert_eq!(told(&status), error(Code::Unimplemented, "METHOD_UNKNOWN"), "{path}");
        assert_eq!(status.get_details_error_info().unwrap().metadata["path"], path);
    }
    // However long the path is, the answer is small.
    let long = format!("/no.such.Service/{}", "Method".repeat(1000));
    let mut client = tonic::client::Grpc::new(world.channel.clone());
    client.ready().await.unwrap();
    let answer =
        client.unary::<(), (), _>(world.request("anna", ()), long.parse().unwrap(), ProstCodec::default()).await;
    let status = answer.unwrap_err();
    assert_eq!(told(&status), error(Code::Unimplemented, "METHOD_UNKNOWN"));
    let shown = format!("{}…", &long[..64]);
    assert_eq!(status.get_details_error_info().unwrap().metadata["path"], shown);
    assert_eq!(status.message(), format!("there is no method {shown}"));
    assert_small(&status);
}

#[tokio::test]
async fn a_service_that_is_down_is_unavailable_until_it_is_back() {
    let mut world = World::start().await;
    let mut stream = world.client().watch_order(world.watch("orders/endless")).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    world.orders.kill();
    let unavailable = error(Code::Unavailable, "UPSTREAM_UNAVAILABLE");
    // What was under way ends as an error of gRPC, not of HTTP.
    let broken = break_of(&mut stream).await;
    assert_eq!(told(&broken), unavailable);

    let status = world.get("anna", "orders/a").await.unwrap_err();
    assert_eq!(told(&status), unavailable);
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    assert_eq!(status.message(), "the orders service doesn't answer at this moment");
    sign_in(&world.channel).await.unwrap();
    let mut products = ProductServiceClient::new(world.channel.clone());
    let status = products.list_products(ListProductsRequest::default()).await.unwrap_err();
    assert_eq!(told(&status), unavailable);

    world.orders.restart().await;
    eventually(async || world.get("anna", "orders/a").await.ok()).await;
}

#[tokio::test]
async fn a_service_that_is_too_slow_exceeds_the_deadline() {
    let world = World::start().await;
    // Past the server around it, so that the client's own timer doesn't answer first.
    let upstreams = Upstreams { orders: world.orders.target(), ..Upstreams::default() };
    let (built_in, mirror) = (BuiltIn::load().unwrap(), Arc::new(HealthMirror::new(Health::new())));
    let channels = UpstreamChannels::new(ClientConfig::default(), &upstreams, Arc::clone(&mirror));
    let (channels, _learned) = channels.unwrap();
    let edge = Edge { http: None, takes_keys: false, log: None };
    let gate = Arc::new(Gate::new(built_in.clone(), channels, mirror, ServiceRoutes::default(), edge));
    let app = App::new(Arc::new(RoutesFile::new("")), Arc::new(built_in), Arc::clone(&gate) as _);
    app.load_routes().await.unwrap();
    let proxy = Proxy::new(gate.routes());
    let call = async |name, timeout| {
        let request = http::Request::post("http://gateway/meshwork.orders.v1.OrderService/GetOrder")
            .header("content-type", "application/grpc")
            .header("grpc-timeout", timeout)
            .body(body(&get(name)))
            .unwrap();
        proxy.clone().oneshot(request).await.unwrap()
    };
    let late = call("orders/held", "50m").await;
    let status = Status::from_header_map(late.headers()).unwrap();
    assert_eq!(told(&status), error(Code::DeadlineExceeded, "UPSTREAM_TOO_SLOW"));
    let in_time = call("orders/a", "20S").await;
    assert_eq!(in_time.headers().get("x-answer").unwrap(), "yes");
}

/// A message as the body of a call.
fn body(message: &impl prost::Message) -> Body {
    let message = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    Body::new(http_body_util::Full::new(frame.into()))
}
