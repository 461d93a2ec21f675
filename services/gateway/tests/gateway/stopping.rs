//! The gateway's start and end.

use std::time::Duration;

use meshwork_api::meshwork::orders::v1::GetOrderRequest;
use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_chassis::ServerConfig;
use meshwork_chassis::config::Listen;
use meshwork_chassis::{CancellationToken, Health};
use meshwork_gateway::Config;
use meshwork_testkit::Issuer;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Well below the time for which calls may go on.
const PROMPT: Duration = Duration::from_secs(7);

use crate::world::{World, break_of, channel, error, eventually, sign_in, told, with_token};

#[tokio::test]
async fn at_a_stop_streams_end_and_calls_under_way_are_answered() {
    let world = World::start().await;
    let mut stream = world.client().watch_order(world.watch("orders/endless")).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    let held = world.request("anna", GetOrderRequest { name: "orders/held".to_owned(), ..Default::default() });
    let before = world.orders.calls();
    let mut client = world.client();
    let call = tokio::spawn(async move { client.get_order(held).await });
    eventually(async || (world.orders.calls() > before).then_some(())).await;

    world.shutdown.cancel();
    let ended = break_of(&mut stream).await;
    assert_eq!(told(&ended), error(Code::Unavailable, "SERVER_STOPPING"));
    assert!(!world.gateway.is_finished(), "the gateway waits for the call");
    world.orders.orders.released.send_replace(true);
    assert_eq!(call.await.unwrap().unwrap().into_inner().name, "orders/held");
    tokio::time::timeout(PROMPT, world.gateway).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn the_gateway_is_ready_though_no_service_is() {
    let listen = Listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let target = format!("http://{}", listen.address());
    let nowhere = "http://127.0.0.1:1".to_owned();
    let server = ServerConfig { drain_delay: std::time::Duration::ZERO, ..ServerConfig::default() };
    let mut config = Config { listen, server, ..Config::default() };
    config.upstreams.orders = nowhere.clone();
    config.upstreams.users = nowhere.clone();
    config.auth.users = nowhere;
    let shutdown = CancellationToken::new();
    let gateway = tokio::spawn(meshwork_gateway::serve(config, Health::new(), shutdown.clone()));
    let channel = channel(&target, "127.0.0.1").await;
    let health = HealthClient::new(channel.clone());
    eventually(async || {
        let answer = health.clone().check(HealthCheckRequest::default()).await.ok()?.into_inner();
        (answer.status() == ServingStatus::Serving).then_some(())
    })
    .await;
    let issuer = Issuer::start().await;
    let request = with_token(&issuer.token("anna", "customer"), GetOrderRequest::default());
    let status = OrderServiceClient::new(channel.clone()).get_order(request).await.unwrap_err();
    assert_eq!(told(&status), error(Code::Unavailable, "KEYS_UNAVAILABLE"));
    let status = sign_in(&channel).await.unwrap_err();
    assert_eq!(told(&status), error(Code::Unavailable, "UPSTREAM_UNAVAILABLE"));
    shutdown.cancel();
    tokio::time::timeout(PROMPT, gateway).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn settings_that_can_not_work_are_named() {
    let hint = async |change: &dyn Fn(&mut Config)| {
        let listen = Listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut config = Config { listen, ..Config::default() };
        change(&mut config);
        meshwork_gateway::serve(config, Health::new(), CancellationToken::new()).await.unwrap_err().hint
    };
    for target in ["", "http://", "tcp://127.0.0.1:8081", "127.0.0.1:port"] {
        let hint = hint(&|config| config.upstreams.orders = target.to_owned()).await;
        assert!(hint.contains("`gateway.upstreams.orders`"), "{target}: {hint}");
    }
    assert!(hint(&|config| config.auth.users = "users:port".to_owned()).await.contains("`gateway.auth.users`"));
    assert!(hint(&|config| config.rate_limit.per_second = 0.0).await.contains("`gateway.rate_limit.per_second`"));
}
