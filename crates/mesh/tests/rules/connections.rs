//! The connections of a channel: which there are, and what becomes of them.

use std::time::Duration;

use meshwork::observe::Connectivity;
use meshwork::random::Random;
use meshwork::{Channel, WaitForReady};
use tokio::time::sleep;
use tonic::Code;

use crate::a6_retry::ready;
use crate::support::{Does, Names, Net, PATH, call, ms, request, resolved, server_stream, settle, unary};

const SERVERS: [&str; 4] = ["a", "b", "c", "d"];

#[tokio::test(start_paused = true)]
async fn c10_a_server_that_is_gone_is_not_dialled_again_for_a_stream_that_is_open() {
    let net = Net::new();
    let a = net.serve("a", Does::Stream(ms(100)));
    let _b = net.serve("b", Does::Answer);
    let names = Names::new(&["a"]);
    let channel = net.builder("{}").resolver(names.clone()).connect_lazy("test:///c10").unwrap();
    let mut stream = server_stream(&channel, request()).await.unwrap();
    names.set(&["b"]);
    resolved().await;
    a.go_away();
    for _ in 0..50 {
        stream.message().await.unwrap().unwrap();
    }
    assert_eq!(net.memory.connects("a"), 1);
    assert_eq!(call(&channel).await.unwrap(), "b");
    drop(stream);
    sleep(Duration::from_secs(1)).await;
    assert_eq!((net.memory.open_connections("a"), net.memory.connects("a")), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn c13_pick_first_spreads_clients_over_addresses_that_come_in_order() {
    let net = Net::new();
    let _servers = SERVERS.map(|name| net.serve(name, Does::Answer));
    let first = r#"{"loadBalancingConfig": [{"pick_first": {}}]}"#;
    for client in 0..40 {
        let builder = net.builder(first).random(Random::seeded(client)).resolver(Names::new(&SERVERS));
        let channel = builder.connect_lazy("test:///c13").unwrap();
        call(&channel).await.unwrap();
    }
    for name in SERVERS {
        let count = net.count(name);
        assert!((3..=20).contains(&count), "{name} has {count} of 40 clients");
    }
}

/// Calls each 10 ms for so long; each is answered at once.
async fn steady(net: &Net, channel: &Channel, time: Duration) {
    for _ in 0..time.as_millis() / 10 {
        let before = net.now();
        call(channel).await.unwrap();
        assert!(net.now() - before <= ms(1), "a call waited {:?}", net.now() - before);
        sleep(ms(10)).await;
    }
}

const SWITCHES: [&str; 3] = [
    r#"{"loadBalancingConfig": [{"round_robin": {}}], "connectionScaling": {"maxConnectionsPerSubchannel": 2}}"#,
    r#"{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}"#,
    r#"{"loadBalancingConfig": [{"pick_first": {"shuffleAddressList": false}}]}"#,
];

#[tokio::test(start_paused = true)]
async fn c14_a_policy_that_connects_otherwise_costs_no_call_a_wait() {
    for policy in SWITCHES {
        let net = Net::new();
        let servers = ["a", "b"].map(|name| net.serve(name, Does::Answer));
        servers.iter().for_each(|server| server.health(1));
        let names = Names::new(&["a", "b"]);
        let channel = net.builder("{}").resolver(names.clone()).connect_lazy("test:///c14").unwrap();
        ready(&channel, 2).await;
        net.memory.hang("a");
        net.memory.hang("b");
        names.config(&["a", "b"], policy);
        steady(&net, &channel, Duration::from_secs(5)).await;
        assert_eq!(net.memory.connects("a"), 2, "it is being connected anew");
        assert_eq!([net.memory.open_connections("a"), net.memory.open_connections("b")], [1, 1]);
        net.memory.restore("a");
        net.memory.restore("b");
        steady(&net, &channel, Duration::from_secs(5)).await;
        let open = net.memory.open_connections("a") + net.memory.open_connections("b");
        let wanted = if policy.contains("pick_first") { 1 } else { 2 };
        assert_eq!(open, wanted, "the old ones are gone: {policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn c14_open_streams_go_on_over_the_connection_that_they_have() {
    let net = Net::new();
    let a = net.serve("a", Does::Stream(ms(100)));
    let names = Names::new(&["a"]);
    let channel = net.builder("{}").resolver(names.clone()).connect_lazy("test:///c14-stream").unwrap();
    let mut stream = server_stream(&channel, request()).await.unwrap();
    a.does(Does::Answer);
    names.config(&["a"], SWITCHES[0]);
    resolved().await;
    assert_eq!(call(&channel).await.unwrap(), "a");
    assert_eq!((net.memory.connects("a"), net.memory.open_connections("a")), (2, 2));
    for _ in 0..20 {
        stream.message().await.unwrap().unwrap();
    }
    drop(stream);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(net.memory.open_connections("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn c14_new_connections_that_never_stand_are_waited_for_no_longer_than_the_connect_timeout() {
    let net = Net::new();
    let _a = net.serve("a", Does::Answer);
    let names = Names::new(&["a"]);
    let builder = net.builder("{}").connect_timeout(Duration::from_secs(5));
    let channel = builder.resolver(names.clone()).connect_lazy("test:///c14-bound").unwrap();
    ready(&channel, 1).await;
    net.memory.hang("a");
    names.config(&["a"], SWITCHES[0]);
    steady(&net, &channel, Duration::from_secs(4)).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(net.memory.open_connections("a"), 0);
    assert_eq!(call(&channel).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn c14_an_open_circuit_stays_open_over_new_connections() {
    let net = Net::new();
    let a = net.serve("a", Does::Fail(Code::Unavailable));
    let names = Names::new(&["a"]);
    let breaker = |more: &str| {
        format!(r#"{{"meshwork": {{"circuitBreaker": {{"maxOpenPercent": 100, "consecutiveFailures": 1}}{more}}}}}"#)
    };
    let builder = net.builder(&breaker("")).resolver(names.clone());
    let channel = builder.connect_lazy("test:///c14-circuit").unwrap();
    assert_eq!(call(&channel).await.unwrap_err().code(), Code::Unavailable);
    a.does(Does::Answer);
    names.config(&["a"], &breaker(r#", "maxConnectionsPerSubchannel": 2"#));
    resolved().await;
    assert_eq!(net.memory.connects("a"), 2);
    let status = call(&channel).await.unwrap_err();
    assert!(status.message().contains("circuit"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn c19_another_connection_leaves_what_is_known_of_the_endpoint() {
    let net = Net::new();
    let a = net.serve_with("a", Does::AnswerAfter(ms(200)), 1);
    let policy = r#"{"connectionScaling": {"maxConnectionsPerSubchannel": 2}}"#;
    let channel = net.channel("c19", policy, &["a"]);
    call(&channel).await.unwrap();
    a.does(Does::Hang);
    let begin = || {
        let channel = channel.clone();
        tokio::spawn(async move { call(&channel).await })
    };
    let (one, two) = (begin(), begin());
    settle().await;
    settle().await;
    assert_eq!((net.memory.open_connections("a"), a.streams()), (2, 2));
    let latency = channel.endpoints()[0].latency;
    assert!(latency > ms(150), "{latency:?}");
    one.abort();
    two.abort();
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_closed_takes_no_calls_and_ends_its_connections_with_their_streams() {
    let net = Net::new();
    let a = net.serve("a", Does::Stream(ms(100)));
    let channel = net.channel("close", "{}", &["a"]);
    let mut stream = server_stream(&channel, request()).await.unwrap();
    a.does(Does::Answer);
    channel.clone().close();
    assert_eq!(channel.state(), Connectivity::Shutdown);
    for wait in [false, true] {
        let mut request = request();
        request.extensions_mut().insert(WaitForReady(wait));
        let status = unary(&channel, request, PATH).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "the channel was closed"));
    }
    for _ in 0..20 {
        stream.message().await.unwrap().unwrap();
    }
    assert_eq!(net.memory.open_connections("a"), 1);
    drop(stream);
    sleep(Duration::from_secs(1)).await;
    assert_eq!((net.memory.open_connections("a"), net.memory.connects("a")), (0, 1));
    channel.wake();
    settle().await;
    assert_eq!(channel.state(), Connectivity::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_end_when_the_channel_is_closed() {
    let net = Net::new();
    let channel = net.channel("close-waiting", "{}", &["nobody"]);
    let waiting = tokio::spawn({
        let channel = channel.clone();
        let mut request = request();
        request.extensions_mut().insert(WaitForReady(true));
        async move { unary(&channel, request, PATH).await }
    });
    sleep(Duration::from_secs(3)).await;
    assert!(!waiting.is_finished());
    channel.close();
    let status = waiting.await.unwrap().unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "the channel was closed"));
}
