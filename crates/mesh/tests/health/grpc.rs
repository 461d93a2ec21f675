//! `grpc.health.v1.Health`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt as _;
use meshwork::server::health::{Health, HealthService, ServingStatus};
use tokio::process::Command;
use tokio::time::timeout;
use tonic::{Code, Request, Streaming};
use tonic_health::pb::health_check_response::ServingStatus::{NotServing, ServiceUnknown, Serving};
use tonic_health::pb::health_server::Health as _;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_check_response};
use tonic_types::StatusExt as _;

use crate::support::{LONG, Served, breakable, client, serve};

type State = health_check_response::ServingStatus;

fn request(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

async fn check(served: &Served, service: &str) -> Result<State, tonic::Status> {
    let answer = timeout(LONG, client(served).check(request(service))).await.unwrap();
    answer.map(|answer| answer.into_inner().status())
}

async fn watch(served: &Served, service: &str) -> Streaming<HealthCheckResponse> {
    timeout(LONG, client(served).watch(request(service))).await.unwrap().unwrap().into_inner()
}

async fn next(states: &mut Streaming<HealthCheckResponse>) -> State {
    timeout(LONG, states.message()).await.unwrap().unwrap().unwrap().status()
}

#[tokio::test]
async fn check_of_an_unknown_service_is_not_found() {
    let served = serve(Health::new()).await;
    let status = check(&served, "nobody").await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.get_details_error_info().unwrap().reason, "SERVICE_UNKNOWN");
    // A name is not that long.
    let status = check(&served, &"x".repeat(5000)).await.unwrap_err();
    assert_ne!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn watch_of_an_unknown_service_says_so_and_tells_its_later_states() {
    let health = Health::new();
    let served = serve(health.clone()).await;
    let mut states = watch(&served, "late").await;
    assert_eq!(next(&mut states).await, ServiceUnknown);
    health.set("late", ServingStatus::NotServing);
    assert_eq!(next(&mut states).await, NotServing);
    health.set("late", ServingStatus::Serving);
    assert_eq!(next(&mut states).await, Serving);
}

#[tokio::test]
async fn watch_answers_at_once_and_on_each_change_of_its_service_only() {
    let health = Health::new();
    let served = serve(health.clone()).await;
    let (mut watched, mut whole) = (watch(&served, "watched").await, watch(&served, "").await);
    assert_eq!((next(&mut watched).await, next(&mut whole).await), (ServiceUnknown, Serving));
    for (status, state) in [(ServingStatus::NotServing, NotServing), (ServingStatus::Serving, Serving)].repeat(5) {
        // Others change too, and the same is said twice.
        health.register("other");
        health.set("watched", status);
        health.set("watched", status);
        assert_eq!(next(&mut watched).await, state);
        health.set("other", status);
    }
    health.set("", ServingStatus::NotServing);
    assert_eq!(next(&mut whole).await, NotServing);
}

#[tokio::test]
async fn a_watcher_that_reads_late_gets_the_newest_state_and_no_queue() {
    let health = Health::new();
    health.open();
    let service = HealthService::from(health.clone());
    let mut states = service.watch(Request::new(request(""))).await.unwrap().into_inner();
    let mut next = async || timeout(LONG, states.next()).await.unwrap().unwrap().unwrap().status();
    assert_eq!(next().await, Serving);
    for _ in 0..100_000 {
        health.set("", ServingStatus::NotServing);
        health.set("", ServingStatus::Serving);
    }
    health.set("", ServingStatus::NotServing);
    assert_eq!(next().await, NotServing);
    health.set("", ServingStatus::Serving);
    assert_eq!(next().await, Serving);
}

#[tokio::test]
async fn watchers_see_not_serving_before_the_server_ends_their_streams() {
    let served = serve(Health::new()).await;
    let mut streams = Vec::new();
    for name in ["", "readiness", "liveness", "nobody"] {
        let mut states = watch(&served, name).await;
        assert_eq!(next(&mut states).await, if name == "nobody" { ServiceUnknown } else { Serving });
        streams.push((name, states));
    }
    served.shutdown.cancel();
    for (name, mut states) in streams {
        // Alive it is to its end.
        if !["liveness", "nobody"].contains(&name) {
            assert_eq!(next(&mut states).await, NotServing, "{name}");
        }
        let end = timeout(LONG, states.message()).await.unwrap().unwrap_err();
        assert_eq!(end.code(), Code::Unavailable, "{name}");
    }
    timeout(LONG, served.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn probes_are_answered_by_name_from_the_start_to_the_stop() {
    let health = Health::new();
    let broken = Arc::new(AtomicBool::new(true));
    health.check(breakable("own", &broken).required(true));
    let keys = health.condition("keys");
    // As a probe without a service would ask, before anything is served.
    assert_eq!(health.status(""), Some(ServingStatus::NotServing));
    let served = serve(health.clone()).await;
    let all = async || {
        let mut states = Vec::new();
        for name in ["startup", "liveness", "readiness", ""] {
            states.push(check(&served, name).await.unwrap());
        }
        states
    };
    assert_eq!(all().await, [NotServing, Serving, NotServing, NotServing]);
    keys.met();
    assert_eq!(all().await, [NotServing, Serving, NotServing, NotServing]);
    broken.store(false, Ordering::SeqCst);
    assert!(timeout(LONG, health.ready()).await.unwrap());
    assert_eq!(all().await, [Serving; 4]);
    let mut ready = watch(&served, "readiness").await;
    assert_eq!(next(&mut ready).await, Serving);
    broken.store(true, Ordering::SeqCst);
    assert_eq!(next(&mut ready).await, NotServing);
    assert_eq!(all().await, [Serving, Serving, NotServing, NotServing]);
    broken.store(false, Ordering::SeqCst);
    assert_eq!(next(&mut ready).await, Serving);
    served.shutdown.cancel();
    assert_eq!(next(&mut ready).await, NotServing);
}

#[tokio::test]
async fn a_hundred_watchers_see_a_change_and_hold_up_no_stop() {
    let health = Health::new();
    let served = serve(health.clone()).await;
    let mut streams = Vec::new();
    for _ in 0..100 {
        let mut states = watch(&served, "").await;
        assert_eq!(next(&mut states).await, Serving);
        streams.push(states);
    }
    health.set("", ServingStatus::NotServing);
    for states in &mut streams {
        assert_eq!(next(states).await, NotServing);
    }
    served.shutdown.cancel();
    timeout(LONG, served.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn grpcurl_gets_the_answers_that_probes_get() {
    let grpcurl = std::env::var_os("MESHWORK_TEST_GRPCURL");
    let grpcurl = grpcurl.expect("MESHWORK_TEST_GRPCURL is not set; run `cargo xtask test`, which installs grpcurl");
    let health = Health::new();
    health.set("down", ServingStatus::NotServing);
    let served = serve(health).await;
    let ask = async |service: &str| {
        let mut command = Command::new(&grpcurl);
        command.args(["-plaintext", "-max-time", "60", "-d", &format!("{{\"service\":\"{service}\"}}")]);
        command.args([served.address.to_string().as_str(), "grpc.health.v1.Health/Check"]).kill_on_drop(true);
        let output = timeout(LONG, command.output()).await.unwrap().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.success(), text)
    };
    for (service, succeeds, says) in [
        ("", true, "\"status\": \"SERVING\""),
        ("startup", true, "\"status\": \"SERVING\""),
        ("liveness", true, "\"status\": \"SERVING\""),
        ("readiness", true, "\"status\": \"SERVING\""),
        ("down", true, "\"status\": \"NOT_SERVING\""),
        ("nobody", false, "Code: NotFound"),
    ] {
        let (succeeded, said) = ask(service).await;
        assert_eq!(succeeded, succeeds, "{service}: {said}");
        assert!(said.contains(says), "{service}: {said}");
    }
}
