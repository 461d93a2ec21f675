//! pick_first (gRFCs A61, A62), and resolution, as the channel joins them.

use std::time::Duration;

use meshwork::WaitForReady;
use meshwork::observe::Connectivity;
use tonic::Code;

use crate::a6_retry::ready;
use crate::support::{Does, Names, Net, PATH, call, ms, request, resolved, settle, unary};

const FIRST: &str = r#"{"loadBalancingConfig": [{"pick_first": {"shuffleAddressList": false}}]}"#;

#[tokio::test(start_paused = true)]
async fn a61_all_calls_go_to_the_first_that_connects() {
    let net = Net::new();
    let _b = net.serve("b", Does::Answer);
    let _c = net.serve("c", Does::Answer);
    let channel = net.channel("a61", FIRST, &["a", "b", "c"]);
    for _ in 0..5 {
        assert_eq!(call(&channel).await.unwrap(), "b");
    }
    assert_eq!(net.memory.connects("c"), 0);
}

#[tokio::test(start_paused = true)]
async fn a61_a_ready_connection_in_a_new_list_is_kept() {
    let net = Net::new();
    let _a = net.serve("a", Does::Answer);
    let _b = net.serve("b", Does::Answer);
    let names = Names::new(&["a"]);
    let channel = net.builder(FIRST).resolver(names.clone()).connect_lazy("test:///a61-kept").unwrap();
    assert_eq!(call(&channel).await.unwrap(), "a");
    names.set(&["b", "a"]);
    resolved().await;
    assert_eq!(call(&channel).await.unwrap(), "a");
    assert_eq!((net.memory.connects("a"), net.memory.connects("b")), (1, 0));
    names.set(&["b"]);
    resolved().await;
    let mut waits = request();
    waits.extensions_mut().insert(WaitForReady(true));
    assert_eq!(unary(&channel, waits, PATH).await.unwrap(), "b");
    settle().await;
    assert_eq!(net.memory.open_connections("a"), 0);
}

#[tokio::test(start_paused = true)]
async fn a62_transient_failure_is_sticky_and_asks_for_names() {
    let net = Net::new();
    let names = Names::new(&["a", "b"]);
    let channel = net.builder(FIRST).resolver(names.clone()).connect_lazy("test:///a62").unwrap();
    assert_eq!(call(&channel).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(names.asked(), 1);
    for _ in 0..40 {
        tokio::time::sleep(ms(1000)).await;
        assert_eq!(channel.state(), Connectivity::TransientFailure);
    }
    assert_eq!(names.asked(), 2, "again, but at most every 30 s");
    let _b = net.serve("b", Does::Answer);
    let mut waits = request();
    waits.extensions_mut().insert(WaitForReady(true));
    assert_eq!(unary(&channel, waits, PATH).await.unwrap(), "b");
}

#[tokio::test(start_paused = true)]
async fn the_last_good_addresses_are_kept_while_the_resolver_fails() {
    let net = Net::new();
    let _a = net.serve("a", Does::Answer);
    let names = Names::new(&["a"]);
    let channel = net.builder("{}").resolver(names.clone()).connect_lazy("test:///last-good").unwrap();
    assert_eq!(call(&channel).await.unwrap(), "a");
    names.say(Err("no such name".into()));
    resolved().await;
    assert_eq!(call(&channel).await.unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_was_never_resolved_fails_calls_with_the_reason() {
    let net = Net::new();
    let _a = net.serve("a", Does::Answer);
    let names = Names::new(&["a"]);
    names.say(Err("no such name".into()));
    let channel = net.builder("{}").resolver(names.clone()).connect_lazy("test:///never").unwrap();
    let status = call(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("no such name"), "{status}");
    let waiting = tokio::spawn({
        let channel = channel.clone();
        let mut waits = request();
        waits.extensions_mut().insert(WaitForReady(true));
        async move { unary(&channel, waits, PATH).await }
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!waiting.is_finished());
    names.set(&["a"]);
    assert_eq!(waiting.await.unwrap().unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn an_empty_list_fails_calls_and_a_new_one_serves_them() {
    let net = Net::new();
    let _a = net.serve("a", Does::Answer);
    let names = Names::new(&[]);
    let channel = net.builder("{}").resolver(names.clone()).connect_lazy("test:///empty").unwrap();
    let status = call(&channel).await.unwrap_err();
    assert!(status.message().contains("no endpoints"), "{status}");
    names.set(&["a"]);
    resolved().await;
    assert_eq!(call(&channel).await.unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_come_and_go_while_calls_wait_lose_no_call() {
    let net = Net::new();
    let names = Names::new(&["a"]);
    let channel = net.builder("{}").resolver(names.clone()).connect_lazy("test:///come-and-go").unwrap();
    let _servers: Vec<_> =
        ["a", "b", "c"].iter().map(|name| net.serve_with(name, Does::AnswerAfter(ms(3)), 2)).collect();
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..600_u64 {
        let channel = channel.clone();
        calls.spawn(async move {
            tokio::time::sleep(Duration::from_millis(number)).await;
            let mut waits = request();
            waits.extensions_mut().insert(WaitForReady(true));
            unary(&channel, waits, PATH).await
        });
    }
    for round in 0..60 {
        tokio::time::sleep(ms(10)).await;
        names.set([&["a"][..], &["b", "c"], &[], &["c", "a"], &["b"]][round % 5]);
    }
    names.set(&["a", "b", "c"]);
    while let Some(answer) = calls.join_next().await {
        answer.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_channel_lets_its_connections_go_and_the_next_call_connects() {
    let net = Net::new();
    let _a = net.serve("a", Does::Answer);
    let channel = net
        .builder("{}")
        .idle_timeout(Some(Duration::from_secs(60)))
        .resolver(Names::new(&["a"]))
        .connect_lazy("test:///idle")
        .unwrap();
    assert_eq!(call(&channel).await.unwrap(), "a");
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!((channel.state(), net.memory.open_connections("a")), (Connectivity::Idle, 0));
    assert_eq!(call(&channel).await.unwrap(), "a");
    // Calls now and then keep it.
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(40)).await;
        call(&channel).await.unwrap();
    }
    assert_eq!(net.memory.connects("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn a8_keepalive_of_the_channel_finds_a_frozen_server() {
    let net = Net::new();
    let _a = net.serve("a", Does::Hang);
    let channel = net
        .builder("{}")
        .http2_keep_alive_interval(Duration::from_secs(1))
        .keep_alive_timeout(Duration::from_secs(5))
        .resolver(Names::new(&["a"]))
        .connect_lazy("test:///a8")
        .unwrap();
    ready(&channel, 1).await;
    let before = net.now();
    let calling = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel).await }
    });
    settle().await;
    net.memory.freeze("a");
    let status = calling.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let took = net.now() - before;
    // The interval has a floor of 10 s.
    assert!(took >= Duration::from_secs(14) && took <= Duration::from_secs(26), "{took:?}");
}
