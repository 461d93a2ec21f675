//! What is left behind: counted.

use std::time::Duration;

use meshwork::{Channel, WaitForReady};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use crate::a6_retry::ready;
use crate::support::{Does, Names, Net, PATH, call, ms, request, server_stream, settle, unary};

const POLICY: &str = r#"{"loadBalancingConfig": [{"outlier_detection_experimental": {"failurePercentageEjection": {},
        "childPolicy": [{"meshwork_peak_ewma": {}}]}}],
    "methodConfig": [
        {"name": [{}], "timeout": "30s", "retryPolicy": {"maxAttempts": 3, "initialBackoff": "0.01s",
         "maxBackoff": "0.1s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}},
        {"name": [{"service": "test.Hedged"}], "hedgingPolicy": {"maxAttempts": 3, "hedgingDelay": "0.001s"}}],
    "meshwork": {"circuitBreaker": {"maxOpenPercent": 100}, "maxConcurrentRequests": 64}}"#;

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_cancelled_calls_leave_nothing() {
    let net = Net::new();
    let servers: Vec<_> =
        ["a", "b", "c"].iter().map(|name| net.serve_with(name, Does::AnswerAfter(ms(3)), 10)).collect();
    let channel = net.channel("leak-calls", POLICY, &["a", "b", "c"]);
    ready(&channel, 3).await;
    call(&channel).await.unwrap();
    settle().await;
    let before = tasks();
    for round in 0..200_u64 {
        // Some hang, some fail, some answer, some stream; each call is let go at another moment.
        let does = [Does::AnswerAfter(ms(3)), Does::Hang, Does::Fail(tonic::Code::Unavailable), Does::Stream(ms(1))];
        servers.iter().for_each(|server| server.does(does[round as usize % 4].clone()));
        let calls: Vec<_> = (0..50_u64)
            .map(|number| {
                let channel = channel.clone();
                tokio::spawn(async move {
                    let patience = Duration::from_micros(number * 120);
                    let path = ["/test.Users/Get", "/test.Hedged/Get"][(number % 2) as usize];
                    let mut request = request();
                    request.extensions_mut().insert(WaitForReady(number % 3 == 0));
                    if number % 5 == 0 {
                        let _ = timeout(patience, async {
                            let mut stream = server_stream(&channel, request).await?;
                            while stream.message().await?.is_some() {}
                            Ok::<_, tonic::Status>(())
                        })
                        .await;
                    } else {
                        let _ = timeout(patience, unary(&channel, request, path)).await;
                    }
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        net.forget();
    }
    sleep(ms(500)).await;
    assert_eq!(tasks(), before, "tasks");
    for server in &servers {
        assert_eq!(server.streams(), 0, "streams");
        server.does(Does::Answer);
    }
    for endpoint in channel.endpoints() {
        assert_eq!(endpoint.in_flight, 0, "{endpoint:?}");
    }
    for name in ["a", "b", "c"] {
        assert_eq!(net.memory.open_connections(name), 1);
    }
    // Permits: all 64 can be held at once; and probes, if a circuit opened: it closes again.
    sleep(Duration::from_secs(61)).await;
    servers.iter().for_each(|server| server.does(Does::AnswerAfter(ms(1))));
    for _ in 0..20 {
        let calls: Vec<_> = (0..15)
            .map(|_| {
                let channel = channel.clone();
                tokio::spawn(async move { call(&channel).await })
            })
            .collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
    }
    for endpoint in channel.endpoints() {
        assert_eq!(endpoint.circuit, meshwork::observe::Circuit::Closed, "{endpoint:?}");
    }
    servers.iter().for_each(|server| server.does(Does::Hang));
    let held: Vec<_> = (0..64)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { call(&channel).await })
        })
        .collect();
    settle().await;
    assert!(held.iter().all(|call| !call.is_finished()), "permits");
    held.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn trap_5_a_hundred_dropped_channels_leave_nothing() {
    let net = Net::new();
    let servers: Vec<_> = ["a", "b", "c"].iter().map(|name| net.serve(name, Does::Answer)).collect();
    let health = POLICY.replacen('{', r#"{"healthCheckConfig": {"serviceName": ""},"#, 1);
    servers[0].health(1);
    settle().await;
    let before = tasks();
    for round in 0..100_usize {
        let policy = [POLICY, &health][round % 2];
        let channel = net.channel("leak-channels", policy, &["a", "b", "c", "nobody"]);
        match round % 5 {
            // Never used; or dropped while it connects; or with calls under way, which are let go too.
            0 => {}
            1 => channel.wake(),
            2 => {
                let _ = timeout(Duration::from_micros(500), call(&channel)).await;
            }
            _ => {
                ready(&channel, 3).await;
                call(&channel).await.unwrap();
            }
        }
        drop(channel);
    }
    sleep(Duration::from_secs(5)).await;
    assert_eq!(tasks(), before, "tasks");
    for name in ["a", "b", "c"] {
        assert_eq!(net.memory.open_connections(name), 0, "connections of {name}");
    }
}

#[tokio::test(start_paused = true)]
async fn trap_5_a_response_outlives_its_channel_and_then_nothing_is_left() {
    let net = Net::new();
    let a = net.serve("a", Does::Stream(ms(10)));
    settle().await;
    let before = tasks();
    let channel = net.channel("leak-stream", POLICY, &["a"]);
    let mut stream = server_stream(&channel, request()).await.unwrap();
    drop(channel);
    for _ in 0..5 {
        assert_eq!(stream.message().await.unwrap().unwrap(), b"a");
    }
    drop(stream);
    sleep(ms(100)).await;
    assert_eq!((tasks(), a.streams(), net.memory.open_connections("a")), (before, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_keeps_its_channel() {
    let net = Net::new();
    let _a = net.serve("a", Does::AnswerAfter(ms(500)));
    net.memory.hang("a");
    let channel = net.channel("leak-kept", "{}", &["a"]);
    let calling = tokio::spawn(async move { call(&channel).await });
    sleep(ms(100)).await;
    net.memory.restore("a");
    assert_eq!(calling.await.unwrap().unwrap(), "a");
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Over sockets: descriptors are what a network in memory can't show.
#[tokio::test]
async fn dropped_channels_and_cancelled_calls_leave_no_descriptor() {
    let (_reporter, health) = tonic_health::server::health_reporter();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tokio::spawn(tonic::transport::Server::builder().add_service(health).serve_with_incoming(incoming));
    let target = format!("static:///{address}");
    let ask = |channel: Channel| async move {
        let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
        tonic_health::pb::health_client::HealthClient::new(channel).check(request).await
    };
    ask(Channel::connect(&target).await.unwrap()).await.unwrap();
    // Descriptors of other tests come and go in the meantime only when they run in this process too.
    let mut before = 0;
    for _ in 0..50 {
        sleep(ms(20)).await;
        let now = (descriptors(), tasks());
        if now.0 == before {
            break;
        }
        before = now.0;
    }
    let tasks_before = tasks();
    for round in 0..100_u64 {
        let channel = Channel::connect_lazy(&target).unwrap();
        let _ = timeout(Duration::from_micros(100 * (round % 20)), ask(channel.clone())).await;
        if round % 3 == 0 {
            ask(channel).await.unwrap();
        }
    }
    let mut after = (descriptors(), tasks());
    for _ in 0..100 {
        if after.0 <= before + 2 && after.1 <= tasks_before {
            break;
        }
        sleep(ms(20)).await;
        after = (descriptors(), tasks());
    }
    assert!(after.0 <= before + 2, "{} descriptors, {before} before", after.0);
    assert_eq!(after.1, tasks_before, "tasks");
    server.abort();
    let _ = (Names::new(&[]), PATH);
}
