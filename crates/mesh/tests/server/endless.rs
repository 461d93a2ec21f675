//! What callers, and what stands behind the server, may leave without an end: each has a bound.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use meshwork::server::auth::{Authenticated, Authenticator};
use meshwork::server::{Budgets, Drain, MethodSetting, MethodSettings, Peer, Resource};
use meshwork::{Channel, Server};
use tokio::time::Instant;
use tonic::{Code, Response, Status, Streaming};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

use crate::clients::Tcp;
use crate::support::{LARGE, Running, UNARY, refused, unary, until, why};
use crate::wire::{Answer, Wire, head};

const SECOND: Duration = Duration::from_secs(1);

/// Never says who calls.
struct Silent;

impl Authenticator for Silent {
    fn authenticate(&self, _: &HeaderMap, _: Option<&Peer>) -> Authenticated {
        Authenticated::Later(Box::pin(pending()))
    }
}

#[tokio::test(start_paused = true)]
async fn an_authenticator_that_never_answers_is_waited_for_no_longer_than_ten_seconds() {
    let budgets = Budgets::default();
    let server = Running::start(Server::builder().authenticator(Arc::new(Silent)).budgets(budgets.clone()));
    let (channel, begin) = (server.channel(), Instant::now());
    let status = unary(&channel, UNARY, "x").await.unwrap_err();
    assert_eq!(why(&status), (Code::Unavailable, "KEYS_UNAVAILABLE".into()));
    assert!((10 * SECOND..12 * SECOND).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    assert_eq!(budgets.in_use(Resource::Calls), 0);
}

async fn watch(channel: &Channel) -> Result<Streaming<HealthCheckResponse>, Status> {
    let mut client = HealthClient::new(channel.clone());
    client.watch(HealthCheckRequest::default()).await.map(Response::into_inner)
}

#[tokio::test(start_paused = true)]
async fn s3_a_connection_has_so_many_watches() {
    let budgets = Budgets::default();
    let server = Running::start(Server::builder().max_connection_watches(2).budgets(budgets.clone()));
    let channel = server.channel();
    let open = (watch(&channel).await.unwrap(), watch(&channel).await.unwrap());
    let status = watch(&channel).await.unwrap_err();
    assert_eq!(refused(&status), (Code::ResourceExhausted, "TOO_MANY_WATCHES".into(), "connection".into()));
    assert_eq!((budgets.in_use(Resource::Watches), budgets.refused(Resource::Watches)), (2, 1));
    // Another connection has as many.
    watch(&server.channel()).await.unwrap();
    drop(open);
    until("all is given back", || budgets.in_use(Resource::Watches) == 0).await;
    watch(&channel).await.unwrap();
}

#[tokio::test]
async fn s13_a_stream_of_reflection_without_a_message_holds_nothing_and_ends() {
    let budgets = Budgets::default();
    let builder = Server::builder().budgets(budgets.clone()).first_message_timeout(SECOND / 2);
    let server = Tcp::start(builder).await;
    let channel = server.channel(91);
    let silent = tokio::spawn({
        let mut client = ServerReflectionClient::new(channel.clone());
        async move { client.server_reflection_info(tokio_stream::pending::<ServerReflectionRequest>()).await.map(drop) }
    });
    assert_eq!(unary(&channel, UNARY, "x").await.unwrap(), "x");
    assert_eq!(budgets.in_use(Resource::Watches), 0);
    let status = silent.await.unwrap().unwrap_err();
    assert_eq!(why(&status), (Code::DeadlineExceeded, "REQUEST_TIMED_OUT".into()));
}

#[tokio::test(start_paused = true)]
async fn s7_who_reads_a_byte_now_and_then_keeps_its_call_no_longer_than_to_its_deadline() {
    let budgets = Budgets::default();
    let server = Running::start(Server::builder().budgets(budgets.clone()).timeout(10 * SECOND));
    let wire = Wire::with_window(server.connect().await, 16).await;
    let begin = Instant::now();
    let answer = wire.call(head(LARGE), "100000").await.unwrap();
    let status = Answer::read(answer, Some(SECOND)).await.unwrap().status();
    assert_eq!(why(&status), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into()));
    assert!((10 * SECOND..13 * SECOND).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    until("all is given back", || budgets.in_use(Resource::Calls) == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_calls_that_names_a_health_check_holds_for_it() {
    let settings = MethodSettings::parse(
        r#"{"methodConfig": [{"name": [{"service": "grpc.health.v1.Health", "method": "Watch"}],
            "meshwork": {"maxConcurrentCalls": 1}}]}"#,
    );
    let server = Running::start(Server::builder().method_settings(settings.unwrap()));
    let channel = server.channel();
    let _open = watch(&channel).await.unwrap();
    assert_eq!(refused(&watch(&channel).await.unwrap_err()).2, "method");
    let settings = MethodSettings::new().method(
        "/grpc.health.v1.Health/Check",
        MethodSetting { max_concurrent_calls: Some(0), ..MethodSetting::default() },
    );
    let server = Running::start(Server::builder().method_settings(settings));
    let status = HealthClient::new(server.channel()).check(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!(refused(&status).2, "method");
}

#[tokio::test(start_paused = true)]
async fn s11_an_answer_that_is_read_slowly_at_the_end_of_the_grace_ends_with_a_status() {
    let drain = Drain { delay: Duration::ZERO, grace: 5 * SECOND, ..Drain::default() };
    let server = Running::start(Server::builder().drain(drain));
    let wire = Wire::with_window(server.connect().await, 16).await;
    let answer = wire.call(head(LARGE), "100000").await.unwrap();
    server.stop();
    // The client makes room now and then.
    let status = Answer::read(answer, Some(SECOND)).await.unwrap().status();
    assert_eq!(why(&status), (Code::Unavailable, "SERVER_STOPPING".into()));
    server.ended().await;
}
