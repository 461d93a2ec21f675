//! Outlier detection (gRFC A50) as picks see it, and least_request (gRFC A48).

use std::time::Duration;

use meshwork::observe::Connectivity;
use tonic::Code;

use crate::a6_retry::ready;
use crate::support::{Does, Names, Net, call, ms, resolved};

const POLICY: &str = r#"{"loadBalancingConfig": [{"outlier_detection_experimental": {
    "interval": "1s", "baseEjectionTime": "5s", "maxEjectionPercent": 50,
    "failurePercentageEjection": {"threshold": 50, "minimumHosts": 3, "requestVolume": 5},
    "childPolicy": [{"round_robin": {}}]}}]}"#;

async fn calls(channel: &meshwork::Channel, times: usize) {
    for _ in 0..times {
        let _ = call(channel).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a50_rule_7_an_endpoint_is_ejected_without_losing_its_connection_and_comes_back() {
    let net = Net::new();
    let a = net.serve("a", Does::Fail(Code::Internal));
    let _b = net.serve("b", Does::Answer);
    let _c = net.serve("c", Does::Answer);
    let channel = net.channel("a50", POLICY, &["a", "b", "c"]);
    ready(&channel, 3).await;
    calls(&channel, 30).await;
    tokio::time::sleep(ms(1001)).await;
    let status = channel.endpoints();
    assert!(status[0].ejected && !status[1].ejected && !status[2].ejected, "{status:?}");
    net.forget();
    calls(&channel, 30).await;
    assert_eq!(net.count("a"), 0);
    a.does(Does::Answer);
    tokio::time::sleep(Duration::from_secs(7)).await;
    net.forget();
    calls(&channel, 30).await;
    assert_eq!(net.count("a"), 10, "it is back");
    assert_eq!(net.memory.connects("a"), 1, "over the same connection");
}

#[tokio::test(start_paused = true)]
async fn a50_failures_in_trailers_count() {
    let net = Net::new();
    let _a = net.serve("a", Does::Trailers(Code::Internal));
    let _b = net.serve("b", Does::Answer);
    let _c = net.serve("c", Does::Answer);
    let channel = net.channel("a50-trailers", POLICY, &["a", "b", "c"]);
    ready(&channel, 3).await;
    calls(&channel, 30).await;
    tokio::time::sleep(ms(1001)).await;
    assert!(channel.endpoints()[0].ejected);
}

#[tokio::test(start_paused = true)]
async fn a50_a_new_list_keeps_the_history() {
    let net = Net::new();
    let servers: Vec<_> = ["a", "b", "c", "d"].iter().map(|name| net.serve(name, Does::Answer)).collect();
    servers[0].does(Does::Fail(Code::Internal));
    let names = Names::new(&["a", "b", "c"]);
    let channel = net.builder(POLICY).resolver(names.clone()).connect_lazy("test:///a50-list").unwrap();
    ready(&channel, 3).await;
    calls(&channel, 15).await;
    // In the middle of the interval.
    names.set(&["d", "c", "b", "a"]);
    ready(&channel, 4).await;
    calls(&channel, 16).await;
    tokio::time::sleep(ms(1001)).await;
    let ejected = |channel: &meshwork::Channel| {
        channel.endpoints().iter().filter(|e| e.ejected).map(|e| e.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(ejected(&channel), ["a"]);
    names.set(&["a", "b", "c"]);
    resolved().await;
    assert_eq!(ejected(&channel), ["a"], "ejected it stays");
    assert_eq!(net.memory.connects("a"), 1);
    names.set(&["b", "c", "d"]);
    resolved().await;
    names.set(&["a", "b", "c", "d"]);
    ready(&channel, 4).await;
    assert!(ejected(&channel).is_empty(), "an address that was removed is forgotten");
}

#[tokio::test(start_paused = true)]
async fn a50_rule_8_ejected_endpoints_come_back_when_the_policy_is_dropped() {
    let net = Net::new();
    let _a = net.serve("a", Does::Fail(Code::Internal));
    let _b = net.serve("b", Does::Answer);
    let _c = net.serve("c", Does::Answer);
    let names = Names::new(&["a", "b", "c"]);
    let channel = net.builder(POLICY).resolver(names.clone()).connect_lazy("test:///a50-dropped").unwrap();
    ready(&channel, 3).await;
    calls(&channel, 30).await;
    tokio::time::sleep(ms(1001)).await;
    assert!(channel.endpoints()[0].ejected);
    names.config(&["a", "b", "c"], r#"{"loadBalancingConfig": [{"round_robin": {}}]}"#);
    resolved().await;
    net.forget();
    calls(&channel, 9).await;
    assert_eq!(net.count("a"), 3);
}

#[tokio::test(start_paused = true)]
async fn a48_the_channel_is_transient_failure_until_one_is_ready() {
    let net = Net::new();
    let channel = net.channel("a48", r#"{"loadBalancingConfig": [{"least_request_experimental": {}}]}"#, &["a", "b"]);
    assert_eq!(call(&channel).await.unwrap_err().code(), Code::Unavailable);
    // It connects again meanwhile, and is TRANSIENT_FAILURE all the time.
    for _ in 0..20 {
        tokio::time::sleep(ms(200)).await;
        assert_eq!(channel.state(), Connectivity::TransientFailure);
    }
    let _b = net.serve("b", Does::Answer);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(channel.state(), Connectivity::Ready);
    assert_eq!(call(&channel).await.unwrap(), "b");
}

#[tokio::test(start_paused = true)]
async fn a48_in_flight_counts_end_with_the_stream() {
    let net = Net::new();
    let _a = net.serve("a", Does::Stream(ms(10)));
    let channel =
        net.channel("a48-streams", r#"{"loadBalancingConfig": [{"least_request_experimental": {}}]}"#, &["a"]);
    let mut stream = crate::support::server_stream(&channel, crate::support::request()).await.unwrap();
    for _ in 0..3 {
        stream.message().await.unwrap().unwrap();
        assert_eq!(channel.endpoints()[0].in_flight, 1);
    }
    drop(stream);
    assert_eq!(channel.endpoints()[0].in_flight, 0);
}
