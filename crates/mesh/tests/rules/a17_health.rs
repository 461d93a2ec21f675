//! Client-side health checks (gRFC A17) as picks see them.

use meshwork::observe::Connectivity;
use tonic::Code;

use crate::a6_retry::ready;
use crate::support::{Does, Net, call, resolved, settle};

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

#[tokio::test(start_paused = true)]
async fn a17_rule_3_a_pick_avoids_who_does_not_serve_and_comes_back() {
    let net = Net::new();
    let a = net.serve("a", Does::Answer);
    let b = net.serve("b", Does::Answer);
    a.health(NOT_SERVING);
    b.health(SERVING);
    let policy =
        r#"{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": "test.Users"}}"#;
    let channel = net.channel("a17", policy, &["a", "b"]);
    ready(&channel, 1).await;
    for _ in 0..6 {
        assert_eq!(call(&channel).await.unwrap(), "b");
    }
    a.health(SERVING);
    settle().await;
    for _ in 0..6 {
        call(&channel).await.unwrap();
    }
    assert_eq!(net.count("a"), 3);
    assert_eq!(net.memory.connects("a"), 1, "its connection was kept");
    b.health(NOT_SERVING);
    a.health(NOT_SERVING);
    settle().await;
    let status = call(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(channel.state(), Connectivity::TransientFailure);
}

#[tokio::test(start_paused = true)]
async fn a17_rule_1_pick_first_disables_it() {
    let net = Net::new();
    let a = net.serve("a", Does::Answer);
    a.health(NOT_SERVING);
    let policy = r#"{"loadBalancingConfig": [{"pick_first": {}}], "healthCheckConfig": {"serviceName": ""}}"#;
    let channel = net.channel("a17-pick-first", policy, &["a"]);
    assert_eq!(call(&channel).await.unwrap(), "a");
    assert_eq!(a.watches(), 0);
}

#[tokio::test(start_paused = true)]
async fn a17_rule_4_a_server_without_health_gets_calls() {
    let net = Net::new();
    let a = net.serve("a", Does::Answer);
    let channel = net.channel("a17-without", r#"{"healthCheckConfig": {"serviceName": ""}}"#, &["a"]);
    assert_eq!(call(&channel).await.unwrap(), "a");
    assert_eq!(a.watches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a17_health_checks_begin_when_the_policy_changes() {
    let net = Net::new();
    let a = net.serve("a", Does::Answer);
    let b = net.serve("b", Does::Answer);
    a.health(NOT_SERVING);
    b.health(SERVING);
    let names = crate::support::Names::new(&["a", "b"]);
    let channel = net.builder("{}").resolver(names.clone()).connect_lazy("test:///a17-change").unwrap();
    ready(&channel, 2).await;
    names.config(&["a", "b"], r#"{"healthCheckConfig": {"serviceName": ""}}"#);
    resolved().await;
    net.forget();
    for _ in 0..6 {
        assert_eq!(call(&channel).await.unwrap(), "b");
    }
    settle().await;
    assert_eq!(net.memory.open_connections("a") + net.memory.open_connections("b"), 2, "the old ones are closed");
}
