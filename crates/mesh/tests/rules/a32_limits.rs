//! Limits of calls and of streams: gRFC A32 over channels, gRFC A105.

use meshwork::trace::Why;
use tonic::Code;

use crate::a6_retry::{RETRY, ready};
use crate::support::{Does, Net, call, ms, request, resolved, server_stream, settle};

fn limit(most: u32) -> String {
    RETRY.replacen('{', &format!(r#"{{"meshwork": {{"maxConcurrentRequests": {most}}},"#), 1)
}

#[tokio::test(start_paused = true)]
async fn a32_the_limit_holds_over_two_channels_to_one_target_and_is_not_retried() {
    let net = Net::new();
    let _a = net.serve("a", Does::Hang);
    let first = net.channel("a32-two", &limit(2), &["a"]);
    let second = net.channel("a32-two", &limit(2), &["a"]);
    let other = net.channel("a32-other", &limit(2), &["a"]);
    let held: Vec<_> = [first.clone(), second.clone()]
        .into_iter()
        .map(|channel| tokio::spawn(async move { call(&channel).await }))
        .collect();
    settle().await;
    for channel in [&first, &second] {
        let before = net.now();
        let status = call(channel).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains("maxConcurrentRequests"), "{status}");
        assert_eq!(net.now(), before, "not retried");
        let source = std::error::Error::source(&status).unwrap().downcast_ref::<Why>().unwrap();
        assert_eq!(source.report.attempts.len(), 1);
    }
    assert!(tokio::time::timeout(ms(10), call(&other)).await.is_err(), "another target has its own count");
    // A cancelled call gives its place back.
    held[0].abort();
    settle().await;
    assert!(tokio::time::timeout(ms(10), call(&second)).await.is_err(), "there is room");
    held[1].abort();
}

#[tokio::test(start_paused = true)]
async fn a32_a_stream_holds_its_permit_to_its_end() {
    let net = Net::new();
    let a = net.serve("a", Does::Stream(ms(10)));
    let channel = net.channel("a32-stream", &limit(1), &["a"]);
    let mut stream = server_stream(&channel, request()).await.unwrap();
    stream.message().await.unwrap().unwrap();
    assert_eq!(server_stream(&channel, request()).await.unwrap_err().code(), Code::Unavailable);
    drop(stream);
    a.does(Does::Answer);
    assert_eq!(call(&channel).await.unwrap(), "a");
    assert_eq!(call(&channel).await.unwrap(), "a", "a call that ended holds none");
}

#[tokio::test(start_paused = true)]
async fn a32_a_lowered_limit_keeps_the_count() {
    let net = Net::new();
    let _a = net.serve("a", Does::Hang);
    let names = crate::support::Names::new(&[]);
    names.config(&["a"], &limit(3));
    let channel = net.builder("{}").resolver(names.clone()).connect_lazy("test:///a32-lowered").unwrap();
    ready(&channel, 1).await;
    let held: Vec<_> = (0..3)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { call(&channel).await })
        })
        .collect();
    settle().await;
    names.config(&["a"], &limit(2));
    resolved().await;
    for call_ in &held[..2] {
        let status = call(&channel).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "still not under the limit");
        call_.abort();
        settle().await;
    }
    assert!(tokio::time::timeout(ms(10), call(&channel)).await.is_err(), "one of two: there is room");
    held[2].abort();
}

#[tokio::test(start_paused = true)]
async fn a32_a_queued_call_that_is_cancelled_gives_its_permit_back() {
    let net = Net::new();
    net.memory.hang("a");
    let _a = net.serve("a", Does::Answer);
    let channel = net.channel("a32-queued", &limit(1), &["a"]);
    for _ in 0..10 {
        assert!(tokio::time::timeout(ms(10), call(&channel)).await.is_err());
    }
    net.memory.restore("a");
    assert_eq!(call(&channel).await.unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn c11_a_call_that_waits_for_an_endpoint_is_not_in_flight() {
    let net = Net::new();
    net.memory.hang("a");
    let _a = net.serve("a", Does::AnswerAfter(ms(10)));
    let channel = net.channel("a32-waiting", &limit(1), &["a"]);
    let [first, second, third] = [(); 3].map(|()| {
        let channel = channel.clone();
        tokio::spawn(async move { call(&channel).await })
    });
    settle().await;
    assert!(!first.is_finished() && !second.is_finished() && !third.is_finished(), "all wait");
    first.abort();
    net.memory.restore("a");
    assert_eq!(second.await.unwrap().unwrap(), "a");
    // The limit is asked when its turn comes.
    let status = third.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("maxConcurrentRequests"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_call_above_the_servers_streams_waits_for_its_turn() {
    let net = Net::new();
    let _a = net.serve_with("a", Does::AnswerAfter(ms(10)), 2);
    let channel = net.channel("full", "{}", &["a"]);
    ready(&channel, 1).await;
    let before = net.now();
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { call(&channel).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let took = net.now() - before;
    assert!(took >= ms(100) && took < ms(150), "two at a time: {took:?}");
    assert_eq!(net.memory.connects("a"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_in_the_line_does_not_lose_the_turn_of_the_next() {
    let net = Net::new();
    let _a = net.serve_with("a", Does::AnswerAfter(ms(10)), 1);
    let channel = net.channel("line", "{}", &["a"]);
    ready(&channel, 1).await;
    let calls: Vec<_> = (0..30)
        .map(|number| {
            let channel = channel.clone();
            tokio::spawn(async move {
                // Some let go just when room comes.
                let patience = if number % 3 == 0 { ms(10 * (number / 3)) } else { ms(100_000) };
                tokio::time::timeout(patience, call(&channel)).await
            })
        })
        .collect();
    for (number, call) in calls.into_iter().enumerate() {
        let answer = call.await.unwrap();
        assert!(number % 3 == 0 || matches!(answer, Ok(Ok(_))), "{number}: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a105_calls_that_wait_get_another_connection_if_the_policy_allows() {
    let net = Net::new();
    let a = net.serve_with("a", Does::AnswerAfter(ms(100)), 1);
    let policy = r#"{"meshwork": {"maxConnectionsPerSubchannel": 3}}"#;
    let channel = net.channel("a105", policy, &["a"]);
    ready(&channel, 1).await;
    let calls: Vec<_> = (0..6)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { call(&channel).await })
        })
        .collect();
    tokio::time::sleep(ms(50)).await;
    assert_eq!(a.streams(), 3);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(net.memory.connects("a"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_full_endpoint_is_passed_over_while_another_has_room() {
    let net = Net::new();
    let _a = net.serve_with("a", Does::Hang, 1);
    let _b = net.serve("b", Does::Answer);
    let channel = net.channel("full-other", RETRY, &["a", "b"]);
    ready(&channel, 2).await;
    let held: Vec<_> = (0..2)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { call(&channel).await })
        })
        .collect();
    settle().await;
    for _ in 0..6 {
        assert_eq!(call(&channel).await.unwrap(), "b");
    }
    held.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_on_two_full_endpoints_get_the_first_that_has_room() {
    let net = Net::new();
    let _a = net.serve_with("a", Does::Hang, 1);
    let _b = net.serve_with("b", Does::AnswerAfter(ms(10)), 1);
    let channel = net.channel("full-both", RETRY, &["a", "b"]);
    ready(&channel, 2).await;
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { call(&channel).await })
        })
        .collect();
    // One is stuck with the server that hangs; the others don't wait for that one.
    tokio::time::sleep(ms(200)).await;
    assert_eq!(calls.iter().filter(|call| call.is_finished()).count(), 9);
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}
