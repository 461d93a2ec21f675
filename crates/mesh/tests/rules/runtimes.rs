//! The runtime that drives a channel ends (C2): the channel begins anew on that of the next call. Real time, because two
//! runtimes have no clock in common; it only bounds the waiting.

use std::time::Duration;

use meshwork::observe::Connectivity;
use meshwork::{Channel, WaitForReady};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tonic::{Code, Request, Status};

use crate::support::{Does, Names, Net, PATH, call, request, server_stream, unary};

/// How long a test waits for what would never come if it hung.
const BOUND: Duration = Duration::from_secs(60);

/// A runtime with a thread of its own.
fn threaded() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A runtime that runs only while it is blocked on, as that of a test.
fn current() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn bounded<T>(runtime: &Runtime, future: impl Future<Output = T>) -> T {
    runtime.block_on(async { timeout(BOUND, future).await.expect("no hang") })
}

fn waiting() -> Request<Vec<u8>> {
    let mut request = request();
    request.extensions_mut().insert(WaitForReady(true));
    request
}

fn channel(net: &Net, target: &str) -> Channel {
    net.builder("{}").resolver(Names::new(&["a"])).connect_lazy(&format!("test:///{target}")).unwrap()
}

#[test]
fn c2_a_channel_goes_on_when_the_runtime_of_its_first_call_has_ended() {
    let servers = threaded();
    let (net, _a) = servers.block_on(async {
        let net = Net::new();
        let a = net.serve("a", Does::Answer);
        (net, a)
    });
    let first = current();
    let channel = bounded(&first, async { channel(&net, "c2-next") });
    assert_eq!(bounded(&first, call(&channel)).unwrap(), "a");
    drop(first);
    assert_eq!(channel.state(), Connectivity::Idle);
    for connects in 2..5 {
        let next = current();
        assert_eq!(bounded(&next, call(&channel)).unwrap(), "a");
        assert_eq!(bounded(&next, unary(&channel, waiting(), PATH)).unwrap(), "a");
        assert_eq!(net.memory.connects("a"), connects, "everything is dialled anew, once");
    }
}

#[test]
fn c2_a_call_that_waits_takes_the_channel_over_when_its_runtime_ends() {
    let servers = threaded();
    let (net, _a) = servers.block_on(async {
        let net = Net::new();
        net.memory.hang("a");
        let a = net.serve("a", Does::Answer);
        (net, a)
    });
    let (driver, callers) = (current(), threaded());
    let channel = bounded(&driver, async {
        let channel = channel(&net, "c2-waits");
        channel.wake();
        // The task runs until it waits for the connection.
        while net.memory.connects("a") == 0 {
            tokio::task::yield_now().await;
        }
        channel
    });
    let (begun, waits) = std::sync::mpsc::channel();
    let one = channel.clone();
    let waiter = callers.spawn(async move {
        let mut call = Box::pin(unary(&one, waiting(), PATH));
        let pending = futures_util::poll!(&mut call).is_pending();
        begun.send(pending).unwrap();
        call.await
    });
    assert!(waits.recv_timeout(BOUND).unwrap(), "it waits");
    let other = channel.clone();
    let changed = callers.spawn(async move { other.state_changed(Connectivity::Connecting).await });
    drop(driver);
    net.memory.restore("a");
    assert_eq!(bounded(&callers, waiter).unwrap().unwrap(), "a");
    bounded(&callers, changed).unwrap();
}

#[test]
fn c2_streams_of_a_runtime_that_ended_end_with_an_error() {
    let servers = threaded();
    let (net, _a) = servers.block_on(async {
        let net = Net::new();
        let a = net.serve("a", Does::Stream(Duration::from_secs(3600)));
        (net, a)
    });
    let driver = current();
    let (channel, mut stream) = bounded(&driver, async {
        let channel = channel(&net, "c2-stream");
        let mut stream = server_stream(&channel, request()).await.unwrap();
        stream.message().await.unwrap().unwrap();
        (channel, stream)
    });
    drop(driver);
    let next = current();
    let status: Status = bounded(&next, stream.message()).unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    drop(channel);
}

#[test]
fn c2_a_channel_may_be_built_and_dropped_without_a_runtime_and_after_its_own_has_ended() {
    let net = current().block_on(async { Net::new() });
    drop(channel(&net, "c2-unused"));
    let channel = channel(&net, "c2-dropped");
    assert_eq!(channel.state(), Connectivity::Idle);
    let driver = current();
    bounded(&driver, async { call(&channel).await.unwrap_err() });
    drop(driver);
    drop(channel);
}

#[test]
fn c2_connect_begins_on_its_own_runtime() {
    let servers = threaded();
    let (net, _a) = servers.block_on(async {
        let net = Net::new();
        let a = net.serve("a", Does::Answer);
        (net, a)
    });
    let builder = net.builder("{}").resolver(Names::new(&["a"]));
    let first = current();
    let channel = bounded(&first, builder.connect("test:///c2-connect")).unwrap();
    assert_eq!(channel.state(), Connectivity::Ready);
    drop(first);
    let next = current();
    assert_eq!(bounded(&next, call(&channel)).unwrap(), "a");
}
