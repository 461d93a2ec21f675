//! Calls as the channel makes them: what they wait for, how their end is judged, and what they say about it.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use meshwork::observe::Event;
use meshwork::outcome::Outcome;
use meshwork::{Builder, Channel};
use tokio::time::{sleep, timeout};
use tonic::{Code, Request};

use crate::a6_retry::{RETRY, ready};
use crate::support::{
    Does, Names, Net, PATH, call, head, message, ms, request, server_stream, settle, trailers, unary,
};

/// A server that does with each call what `handle` does.
fn serve<F>(net: &Net, name: &str, handle: impl Fn(SendResponse<Bytes>) -> F + Clone + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut listener = net.memory.listen(name).unwrap();
    tokio::spawn(async move {
        while let Some(stream) = listener.accept().await {
            let handle = handle.clone();
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    let handled = handle(respond);
                    tokio::spawn(async move {
                        handled.await;
                        drop(request);
                    });
                }
            });
        }
    });
}

fn within(time: Duration) -> Request<Vec<u8>> {
    let mut request = request();
    request.set_timeout(time);
    request
}

/// A channel to one server, and the outcomes of its attempts.
fn observed(builder: Builder, target: &str) -> (Channel, Arc<Mutex<Vec<Outcome>>>) {
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&outcomes);
    let observer = move |event: &Event<'_>| {
        if let Event::AttemptEnded { outcome, .. } = event {
            log.lock().unwrap().push(*outcome);
        }
    };
    let channel = builder.observer(observer).resolver(Names::new(&["a"])).connect_lazy(target).unwrap();
    (channel, outcomes)
}

#[tokio::test(start_paused = true)]
async fn c5_a_watch_that_answers_late_says_nothing_of_how_quick_its_server_is() {
    let net = Net::new();
    serve(&net, "a", |mut respond| async move {
        sleep(ms(3000)).await;
        let mut send = respond.send_response(head(), false).unwrap();
        for _ in 0..3 {
            if send.send_data(message("news"), false).is_err() {
                return;
            }
            sleep(ms(10)).await;
        }
        let _ = send.send_trailers(trailers(Code::Ok));
    });
    let channel = net.channel("calls-watch", "{}", &["a"]);
    ready(&channel, 1).await;
    for messages in [1, 3] {
        let mut stream = server_stream(&channel, request()).await.unwrap();
        for _ in 0..messages {
            stream.message().await.unwrap().unwrap();
        }
        if messages == 3 {
            assert_eq!(stream.message().await.unwrap(), None);
        }
        drop(stream);
        settle().await;
        assert!(channel.endpoints()[0].latency < ms(20), "{messages}: {:?}", channel.endpoints());
    }
}

#[tokio::test(start_paused = true)]
async fn c5_the_answer_of_a_unary_call_does_say_it() {
    let net = Net::new();
    let _a = net.serve("a", Does::HeadersAfter(ms(300)));
    let channel = net.channel("calls-unary", "{}", &["a"]);
    ready(&channel, 1).await;
    call(&channel).await.unwrap();
    let latency = channel.endpoints()[0].latency;
    assert!(latency > ms(250) && latency < ms(350), "{latency:?}");
}

#[tokio::test(start_paused = true)]
async fn c11_without_a_policy_as_many_calls_may_be_under_way_as_the_servers_take() {
    let net = Net::new();
    let a = net.serve_with("a", Does::Hang, 5000);
    let channel = net.channel("calls-many", "{}", &["a"]);
    ready(&channel, 1).await;
    let calls: Vec<_> = (0..1100)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { call(&channel).await })
        })
        .collect();
    settle().await;
    settle().await;
    assert!(calls.iter().all(|call| !call.is_finished()));
    assert_eq!(a.streams(), 1100);
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn c11_as_many_calls_wait_as_the_channel_allows() {
    let net = Net::new();
    net.memory.hang("a");
    let _a = net.serve("a", Does::Answer);
    let builder = net.builder(RETRY).max_queued_calls(2).resolver(Names::new(&["a"]));
    let channel = builder.connect_lazy("test:///calls-queue").unwrap();
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { call(&channel).await })
        })
        .collect();
    settle().await;
    let before = net.now();
    let status = call(&channel).await.unwrap_err();
    assert_eq!((status.code(), net.now()), (Code::Unavailable, before), "{status}: at once, and not retried");
    assert!(status.message().contains("max_queued_calls"), "{status}");
    net.memory.restore("a");
    for call in waiting {
        assert_eq!(call.await.unwrap().unwrap(), "a");
    }
}

#[tokio::test(start_paused = true)]
async fn c17_a_stream_that_was_cancelled_after_the_deadline_exceeded_it() {
    let net = Net::new();
    serve(&net, "a", |mut respond| async move {
        sleep(ms(250)).await;
        respond.send_reset(Reason::CANCEL);
    });
    let (channel, outcomes) = observed(net.builder("{}"), "test:///calls-cancel");
    ready(&channel, 1).await;
    let mut call = pin!(unary(&channel, within(ms(200)), PATH));
    assert!(timeout(ms(10), call.as_mut()).await.is_err());
    // Nobody looks at the call until both its deadline and the reset are past.
    sleep(ms(400)).await;
    assert_eq!(call.await.unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(*outcomes.lock().unwrap(), [Outcome::Caller(Code::DeadlineExceeded)]);
    // Before the deadline it is what it says.
    let status = unary(&channel, within(ms(2000)), PATH).await.unwrap_err();
    assert_eq!(status.code(), Code::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn c17_so_did_a_response_that_was_cancelled_after_the_deadline() {
    let net = Net::new();
    serve(&net, "a", |mut respond| async move {
        let mut send = respond.send_response(head(), false).unwrap();
        send.send_data(message("first"), false).unwrap();
        sleep(ms(250)).await;
        send.send_reset(Reason::CANCEL);
    });
    let (channel, outcomes) = observed(net.builder("{}"), "test:///calls-cancel-body");
    ready(&channel, 1).await;
    for (limit, code, outcome) in [
        (ms(200), Code::DeadlineExceeded, Outcome::Caller(Code::DeadlineExceeded)),
        (ms(2000), Code::Cancelled, Outcome::Status(Code::Cancelled)),
    ] {
        let mut stream = server_stream(&channel, within(limit)).await.unwrap();
        stream.message().await.unwrap().unwrap();
        sleep(ms(400)).await;
        assert_eq!(stream.message().await.unwrap_err().code(), code);
        assert_eq!(outcomes.lock().unwrap().pop(), Some(outcome));
    }
}

#[tokio::test(start_paused = true)]
async fn c18_a_retry_does_not_return_to_the_server_that_its_queued_attempt_went_to() {
    // Round robin is at one server or at the other when the retry picks.
    for picks in 0..2 {
        let net = Net::new();
        let servers = [net.serve_with("a", Does::Answer, 1), net.serve_with("b", Does::Answer, 1)];
        let channel = net.channel(&format!("calls-queued-{picks}"), RETRY, &["a", "b"]);
        ready(&channel, 2).await;
        for _ in 0..picks {
            call(&channel).await.unwrap();
        }
        net.forget();
        servers.iter().for_each(|server| server.does(Does::Hang));
        let start = || {
            let channel = channel.clone();
            tokio::spawn(async move { call(&channel).await })
        };
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(start());
            settle().await;
        }
        let order: Vec<_> = net.seen().into_iter().map(|seen| seen.server).collect();
        servers[0].does(Does::FailAfter(ms(50), Code::Unavailable));
        servers[1].does(Does::Answer);
        let queued = start();
        settle().await;
        for name in ["a", "b"] {
            let index = order.iter().position(|server| server == name).unwrap();
            held[index].abort();
            settle().await;
        }
        assert_eq!(queued.await.unwrap().unwrap(), "b");
        assert_eq!(net.count("a"), 2, "the one that was held and the one that failed");
    }
}

#[tokio::test(start_paused = true)]
async fn c21_a_call_that_no_endpoint_took_in_time_says_why() {
    let net = Net::new();
    let _a = net.serve_with("a", Does::Hang, 1);
    net.memory.hang("a");
    let channel = net.channel("calls-why", "{}", &["a"]);
    let status = unary(&channel, within(ms(200)), PATH).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("connecting to a"), "{status}");
    net.memory.restore("a");
    ready(&channel, 1).await;
    let held = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel).await }
    });
    settle().await;
    let status = unary(&channel, within(ms(200)), PATH).await.unwrap_err();
    assert!(status.message().contains("as many calls as its servers allow"), "{status}");
    held.abort();
}
