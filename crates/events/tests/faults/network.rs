//! Networks that fail between relay, broker and consumer: what is published and applied is so once (NT-2, NT-5, NT-6).

use std::time::Duration;

use meshwork_testkit::FaultProxy;
use tokio::time::{sleep, timeout};

use crate::flow::Flow;
use crate::running::{PATIENCE, times};
use crate::servers::{bus, shared};

const PAUSE: Duration = Duration::from_millis(10);

/// Events that flow through networks: that of the relay, that of the consumer.
async fn flow(stream: &'static str) -> (Flow, [FaultProxy; 2]) {
    let nats = shared();
    let proxies = [FaultProxy::start(nats.address()).await, FaultProxy::start(nats.address()).await];
    let buses = [bus(&proxies[0].url("nats")).await, bus(&proxies[1].url("nats")).await];
    let [relays, consumes] = buses;
    (Flow::start(stream, PAUSE, [relays, consumes]).await, proxies)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nt_5_over_a_network_that_lags_breaks_and_hangs_each_event_is_applied_once_in_order() {
    let nats = shared();
    let (flow, proxies) = flow("networks").await;
    for _ in 0..times(1, 10) {
        for proxy in &proxies {
            proxy.latency(Duration::from_millis(30), Duration::from_millis(50));
        }
        flow.goes_on(20).await;
        for proxy in &proxies {
            proxy.heal().await;
            proxy.cut().await;
        }
        sleep(Duration::from_secs(1)).await;
        for proxy in &proxies {
            proxy.heal().await;
        }
        flow.goes_on(20).await;
        for _ in 0..3 {
            for proxy in &proxies {
                proxy.reset().await;
            }
            sleep(Duration::from_millis(fastrand::u64(50..500))).await;
        }
        flow.goes_on(20).await;
        for proxy in &proxies {
            proxy.half_open();
        }
        sleep(Duration::from_secs(2)).await;
        for proxy in &proxies {
            proxy.heal().await;
        }
        flow.goes_on(20).await;
        // Longer than an answer is waited for: it comes late.
        for proxy in &proxies {
            proxy.hold();
        }
        sleep(Duration::from_secs(6)).await;
        for proxy in &proxies {
            proxy.heal().await;
        }
        flow.goes_on(20).await;
    }
    flow.ends_well(&*bus(&nats.url()).await).await;
}

/// Whether a client has sent, whole, a message to a subject that begins so, and has asked for an answer.
fn is_asked(sent: &[u8], verb: &str, subject: &str) -> bool {
    let begin = format!("{verb} {subject}");
    let begins = |at: &usize| sent[*at..].starts_with(begin.as_bytes()) && (*at == 0 || sent[*at - 1] == b'\n');
    (0..sent.len()).filter(begins).any(|at| {
        let Some(line) = sent[at..].windows(2).position(|pair| pair == b"\r\n") else { return false };
        let head = String::from_utf8_lossy(&sent[at..at + line]).into_owned();
        let words: Vec<_> = head.split_ascii_whitespace().collect();
        // Behind the subject stand the place for the answer, unless none is asked for, and one or two lengths.
        let has_reply = words.len() == if verb == "HPUB" { 5 } else { 4 };
        let length: Option<usize> = words.last().and_then(|word| word.parse().ok());
        has_reply && length.is_some_and(|length| sent.len() >= at + line + 2 + length + 2)
    })
}

#[test]
fn a_request_is_known_when_it_was_sent_whole() {
    let known = |sent: &str| is_asked(sent.as_bytes(), "PUB", "$JS.ACK.");
    assert!(known("PUB $JS.ACK.X.y _INBOX.1 4\r\n+ACK\r\n"));
    assert!(known("PING\r\nPUB $JS.ACK.X.y _INBOX.1 4\r\n+ACK\r\nPING\r\n"));
    assert!(!known("PUB $JS.ACK.X.y _INBOX.1 4\r\n+ACK"));
    assert!(!known("PUB $JS.ACK.X.y 4\r\n+ACK\r\n"));
    assert!(!known("HPUB $JS.ACK.X.y _INBOX.1 4\r\n+ACK\r\n"));
    assert!(is_asked(b"HPUB a.v1.b.p00 _INBOX.1 12 13\r\nNATS/1.0\r\n\r\nx\r\n", "HPUB", "a.v1."));
}

/// Loses some answers to requests that begin so.
async fn lose_answers(proxy: &FaultProxy, flow: &Flow, verb: &'static str, subject: &'static str) {
    for _ in 0..times(2, 30) {
        let lost = proxy.cut_after_request(move |sent| is_asked(sent, verb, subject));
        timeout(PATIENCE, lost).await.unwrap().unwrap();
        flow.goes_on(20).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nt_2_nt_6_what_was_published_or_acknowledged_without_an_answer_is_not_done_twice() {
    let nats = shared();
    let (flow, [of_relay, of_consumer]) = flow("unanswered").await;
    futures_util::future::join(
        lose_answers(&of_relay, &flow, "HPUB", "unanswered.v1."),
        lose_answers(&of_consumer, &flow, "PUB", "$JS.ACK."),
    )
    .await;
    flow.ends_well(&*bus(&nats.url()).await).await;
}
