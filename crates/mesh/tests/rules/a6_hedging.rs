//! Hedging (gRFC A6) as the channel makes it.

use std::time::Duration;

use tonic::Code;

use crate::a6_retry::ready;
use crate::support::{Does, Net, call, ms, settle};

fn hedge(delay: &str) -> String {
    format!(
        r#"{{"loadBalancingConfig": [{{"round_robin": {{}}}}], "methodConfig": [{{"name": [{{}}], "hedgingPolicy":
        {{"maxAttempts": 3, "hedgingDelay": "{delay}", "nonFatalStatusCodes": ["UNAVAILABLE"]}}}}]}}"#
    )
}

#[tokio::test(start_paused = true)]
async fn a6_a_hedge_goes_to_another_endpoint_and_the_slow_attempt_is_cancelled() {
    let net = Net::new();
    let a = net.serve("a", Does::Hang);
    let _b = net.serve("b", Does::Answer);
    let channel = net.channel("hedge-other", &hedge("0.1s"), &["a", "b"]);
    ready(&channel, 2).await;
    for _ in 0..4 {
        assert_eq!(call(&channel).await.unwrap(), "b");
    }
    assert!(net.count("a") > 0);
    settle().await;
    assert_eq!(a.streams(), 0);
    assert!(channel.endpoints().iter().all(|endpoint| endpoint.in_flight == 0));
}

#[tokio::test(start_paused = true)]
async fn a6_a_delay_of_zero_sends_all_at_once() {
    let net = Net::new();
    let servers: Vec<_> = ["a", "b", "c"].iter().map(|name| net.serve(name, Does::AnswerAfter(ms(50)))).collect();
    let channel = net.channel("hedge-all", &hedge("0s"), &["a", "b", "c"]);
    ready(&channel, 3).await;
    let before = net.now();
    call(&channel).await.unwrap();
    let took = net.now() - before;
    assert!(took < ms(60), "{took:?}");
    for name in ["a", "b", "c"] {
        assert_eq!(net.count(name), 1, "round robin: one each");
    }
    settle().await;
    assert!(servers.iter().all(|server| server.streams() == 0));
}

#[tokio::test(start_paused = true)]
async fn a6_a_fatal_status_ends_the_call_and_its_hedges() {
    let net = Net::new();
    let a = net.serve("a", Does::Hang);
    let b = net.serve("b", Does::Fail(Code::NotFound));
    let channel = net.channel("hedge-fatal", &hedge("0s"), &["a", "b"]);
    ready(&channel, 2).await;
    assert_eq!(call(&channel).await.unwrap_err().code(), Code::NotFound);
    settle().await;
    assert_eq!((a.streams(), b.streams()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a6_all_hedges_share_the_deadline_of_the_call() {
    let net = Net::new();
    let a = net.serve("a", Does::Hang);
    let channel = net.channel("hedge-deadline", &hedge("0.1s"), &["a"]);
    ready(&channel, 1).await;
    let mut request = crate::support::request();
    request.set_timeout(Duration::from_millis(250));
    let before = net.now();
    let status = crate::support::unary(&channel, request, crate::support::PATH).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(net.now() - before <= ms(255), "{:?}", net.now() - before);
    settle().await;
    assert_eq!(a.streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn a6_a_call_that_waits_for_a_pushback_holds_no_stream() {
    let net = Net::new();
    let a = net.serve_with("a", Does::Answer, 1);
    a.first([Does::Pushback(Code::Unavailable, "500")]);
    let channel = net.channel("hedge-pushback", &hedge("10s"), &["a"]);
    ready(&channel, 1).await;
    let waits = {
        let channel = channel.clone();
        tokio::spawn(async move { call(&channel).await })
    };
    tokio::time::sleep(ms(100)).await;
    assert_eq!(net.count("a"), 1);
    let before = net.now();
    assert_eq!(call(&channel).await.unwrap(), "a");
    assert!(net.now() - before < ms(100), "the only place was free: {:?}", net.now() - before);
    assert_eq!(waits.await.unwrap().unwrap(), "a");
}
