//! Service config (gRFCs A2, A21) as the channel takes it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use meshwork::observe::Event;
use meshwork::resolve::{Resolution, ResolveError, Resolver};
use meshwork::{Channel, WaitForReady};
use tonic::Code;

use crate::support::{Does, Names, Net, PATH, call, ms, request, resolved, settle, unary};

const SHORT: &str = r#"{"methodConfig": [{"name": [{}], "timeout": "0.2s"}]}"#;
const LONG: &str = r#"{"methodConfig": [{"name": [{}], "timeout": "2s"}]}"#;
const BAD: &str = r#"{"methodConfig": [{"name": [{}], "timeout": "soon"}]}"#;

async fn took(net: &Net, channel: &Channel) -> Duration {
    let before = net.now();
    assert_eq!(call(channel).await.unwrap_err().code(), Code::DeadlineExceeded);
    net.now() - before
}

#[tokio::test(start_paused = true)]
async fn a21_rule_4_the_resolvers_config_takes_the_place_of_the_default() {
    let net = Net::new();
    let _a = net.serve("a", Does::Hang);
    let names = Names::new(&[]);
    names.config(&["a"], SHORT);
    let channel = net.builder(LONG).resolver(names.clone()).connect_lazy("test:///a21").unwrap();
    let waited = tokio::time::timeout(ms(1), call(&channel)).await;
    assert!(waited.is_err());
    assert!(took(&net, &channel).await <= ms(205));
    // None at all: the default.
    names.set(&["a"]);
    resolved().await;
    assert!(took(&net, &channel).await >= ms(1990));
}

#[tokio::test(start_paused = true)]
async fn a21_rule_4_a_rejected_config_leaves_the_last_good_one() {
    let net = Net::new();
    let _a = net.serve("a", Does::Hang);
    let _b = net.serve("b", Does::Answer);
    let names = Names::new(&[]);
    names.config(&["a"], SHORT);
    let refused = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&refused);
    let channel = net
        .builder(LONG)
        .resolver(names.clone())
        .observer(move |event: &Event<'_>| {
            if let Event::PolicyRefused { error } = event {
                log.lock().unwrap().push((*error).to_owned());
            }
        })
        .connect_lazy("test:///a21-bad")
        .unwrap();
    channel.wake();
    settle().await;
    assert!(took(&net, &channel).await <= ms(205));
    names.config(&["a"], BAD);
    resolved().await;
    assert!(took(&net, &channel).await <= ms(205), "the last good one, not the default");
    let errors = refused.lock().unwrap().clone();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].contains("timeout"), "it names the path: {errors:?}");
    // The addresses of such an answer are used all the same.
    names.config(&["b"], BAD);
    resolved().await;
    assert_eq!(call(&channel).await.unwrap(), "b");
}

#[tokio::test(start_paused = true)]
async fn a21_rule_4_a_rejected_first_config_leaves_the_channels_default() {
    let net = Net::new();
    let _a = net.serve("a", Does::Hang);
    let names = Names::new(&[]);
    names.config(&["a"], BAD);
    let channel = net.builder(SHORT).resolver(names).connect_lazy("test:///a21-default").unwrap();
    assert!(took(&net, &channel).await <= ms(205));
}

#[tokio::test(start_paused = true)]
async fn a21_rule_4_a_rejected_first_config_without_a_default_fails_the_resolution() {
    let net = Net::new();
    let _a = net.serve("a", Does::Answer);
    let names = Names::new(&[]);
    names.config(&["a"], BAD);
    let channel = Channel::builder()
        .connector(net.memory.clone())
        .resolver(names.clone())
        .connect_lazy("test:///a21-none")
        .unwrap();
    let status = call(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("timeout"), "{status}");
    assert_eq!(channel.state(), meshwork::observe::Connectivity::TransientFailure);
    // A good one ends that.
    names.config(&["a"], LONG);
    let mut request = request();
    request.extensions_mut().insert(WaitForReady(true));
    assert_eq!(unary(&channel, request, PATH).await.unwrap(), "a");
}

/// Names that announce no change.
struct Unannounced(Names);

#[async_trait]
impl Resolver for Unannounced {
    async fn resolve(&self) -> Result<Resolution, ResolveError> {
        self.0.resolve().await
    }
}

#[tokio::test(start_paused = true)]
async fn a21_rule_4_a_resolution_that_failed_by_its_config_is_asked_for_again() {
    let net = Net::new();
    let _a = net.serve("a", Does::Answer);
    let names = Names::new(&[]);
    names.config(&["a"], BAD);
    let channel = Channel::builder()
        .connector(net.memory.clone())
        .resolver(Unannounced(names.clone()))
        .connect_lazy("test:///a21-again")
        .unwrap();
    assert_eq!(call(&channel).await.unwrap_err().code(), Code::Unavailable);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(names.asked(), 4, "at once, and every 30 s");
    names.config(&["a"], LONG);
    let mut request = request();
    request.extensions_mut().insert(WaitForReady(true));
    let answer = tokio::time::timeout(Duration::from_secs(60), unary(&channel, request, PATH)).await.unwrap();
    assert_eq!(answer.unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn a21_rule_6_the_shorter_of_config_and_application_holds() {
    let net = Net::new();
    let _a = net.serve("a", Does::Hang);
    let channel = net.channel("a21-timeout", SHORT, &["a"]);
    for (own, expected) in [(100, 100), (500, 200)] {
        let mut request = request();
        request.set_timeout(ms(own));
        let before = net.now();
        let status = unary(&channel, request, PATH).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        let took = net.now() - before;
        assert!(took >= ms(expected) && took <= ms(expected + 5), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a21_rule_6_wait_for_ready_of_the_config_only_if_the_application_did_not_say() {
    let net = Net::new();
    let waits = r#"{"methodConfig": [{"name": [{}], "waitForReady": true, "timeout": "5s"}]}"#;
    let channel = net.channel("a21-wait", waits, &["nobody"]);
    assert_eq!(call(&channel).await.unwrap_err().code(), Code::DeadlineExceeded, "it waited");
    let mut request = request();
    request.extensions_mut().insert(WaitForReady(false));
    assert_eq!(unary(&channel, request, PATH).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a21_methods_find_the_config_that_names_them_best() {
    let net = Net::new();
    let _a = net.serve("a", Does::Hang);
    let policy = r#"{"methodConfig": [
        {"name": [{}], "timeout": "3s"},
        {"name": [{"service": "test.Users"}], "timeout": "2s"},
        {"name": [{"service": "test.Users", "method": "Get"}], "timeout": "1s"}]}"#;
    let channel = net.channel("a21-names", policy, &["a"]);
    channel.wake();
    settle().await;
    for (path, seconds) in [("/test.Users/Get", 1), ("/test.Users/Put", 2), ("/test.Other/Get", 3)] {
        let before = net.now();
        unary(&channel, request(), path).await.unwrap_err();
        assert_eq!((net.now() - before).as_secs(), seconds, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_file_is_reloaded_while_running() {
    let net = Net::new();
    let _a = net.serve("a", Does::Hang);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), SHORT).unwrap();
    let channel = Channel::builder()
        .connector(net.memory.clone())
        .resolver(Names::new(&["a"]))
        .policy_file(file.path())
        .connect_lazy("test:///a21-file")
        .unwrap();
    assert!(took(&net, &channel).await <= ms(205));
    std::fs::write(file.path(), LONG).unwrap();
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(took(&net, &channel).await >= ms(1990));
    std::fs::write(file.path(), BAD).unwrap();
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(took(&net, &channel).await >= ms(1990), "a bad one leaves it");
    assert_eq!(net.memory.connects("a"), 1, "connections stay");
}
