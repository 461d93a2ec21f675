//! What is left behind by calls and channels that were dropped: nothing.

use std::future::Future;
use std::time::Duration;

use http::uri::PathAndQuery;
use meshwork::Channel;
use meshwork::limit::ConcurrencyLimit;
use meshwork::observe::Circuit;
use meshwork::policy::{CircuitBreaker, Policy};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tonic::client::Grpc;
use tonic::{Code, Request, Status};

use crate::load::{CALLS, bounded, codec, comes, connected, explained, policy, stream, unary, until};
use crate::process::{Server, alone, descriptors};
use crate::server::UPLOAD;

/// Calls that are dropped, and how many run beside each other.
const CANCELLED: usize = 10_000;
const BESIDE: usize = 50;
const CHANNELS: usize = 100;

/// What could be left behind.
#[derive(Debug, PartialEq)]
struct Held {
    tasks: usize,
    descriptors: usize,
    /// Of each server: one for each connection.
    connections: Vec<usize>,
}

fn held(servers: &[Server]) -> Held {
    Held {
        tasks: Handle::current().metrics().num_alive_tasks(),
        descriptors: descriptors("self"),
        connections: servers.iter().map(Server::descriptors).collect(),
    }
}

async fn is_held_again(before: &Held, servers: &[Server], what: &str) {
    comes(|| held(servers) == *before).await;
    assert_eq!(held(servers), *before, "{what}");
}

/// A call of any kind, to its end.
async fn any_call(channel: &Channel) -> Result<(), Status> {
    match fastrand::u32(0..4) {
        0 | 1 => unary(channel).await.map(drop),
        2 => {
            let mut answers = stream(channel, 3).await?;
            while answers.message().await?.is_some() {}
            Ok(())
        }
        _ => {
            let mut grpc = Grpc::new(channel.clone());
            grpc.ready().await?;
            // It never ends by itself.
            let messages = tokio_stream::StreamExt::chain(
                tokio_stream::iter(["one".to_owned(), "two".to_owned()]),
                tokio_stream::pending(),
            );
            grpc.client_streaming(Request::new(messages), PathAndQuery::from_static(UPLOAD), codec()).await.map(drop)
        }
    }
}

/// Drops `call` after a few polls or a few milliseconds; its result when it was quicker.
async fn cancelled<T>(call: impl Future<Output = T>) -> Option<T> {
    let moment = async {
        if fastrand::bool() {
            for _ in 0..fastrand::u32(0..8) {
                tokio::task::yield_now().await;
            }
        } else {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..8))).await;
        }
    };
    tokio::select! {
        biased;
        result = call => Some(result),
        () = moment => None,
    }
}

#[test]
fn ten_thousand_cancelled_calls_leave_nothing_behind() {
    alone("leaks::ten_thousand_cancelled_calls_leave_nothing_behind", || {
        bounded(async {
            // One connection: many streams that are reset must not be its end.
            let mut servers = [Server::start()];
            let nothing = held(&servers);
            let (channel, _) = connected(policy(), &servers).await;
            servers[0].order("delay 2");
            let idle = held(&servers);
            assert_ne!(idle, nothing);
            let mut callers = JoinSet::new();
            for _ in 0..BESIDE {
                let channel = channel.clone();
                callers.spawn(async move {
                    let mut dropped = 0;
                    while dropped < CANCELLED / BESIDE {
                        match cancelled(any_call(&channel)).await {
                            None => dropped += 1,
                            Some(Ok(())) => {}
                            Some(Err(status)) => panic!("{}", explained(&status)),
                        }
                    }
                    dropped
                });
            }
            let mut dropped = 0;
            while let Some(caller) = callers.join_next().await {
                dropped += caller.unwrap();
            }
            assert_eq!(dropped, CANCELLED);
            is_held_again(&idle, &servers, "after the calls").await;
            let permits = ConcurrencyLimit::of_target(channel.target(), CALLS);
            assert_eq!(permits.in_flight(), 0);
            let status = &channel.endpoints()[0];
            assert_eq!((status.in_flight, status.circuit), (0, Circuit::Closed));
            unary(&channel).await.unwrap();
            drop(channel);
            is_held_again(&nothing, &servers, "after the channel").await;
        });
    });
}

#[test]
fn a_hundred_dropped_channels_leave_nothing_behind() {
    alone("leaks::a_hundred_dropped_channels_leave_nothing_behind", || {
        bounded(async {
            let servers = Server::three();
            let nothing = held(&servers);
            for number in 0..CHANNELS {
                let names: Vec<_> = servers.iter().map(Server::name).collect();
                let target = format!("static:///{}", names.join(","));
                let channel = Channel::builder().policy(policy()).connect_lazy(&target).unwrap();
                match number % 5 {
                    // Never used.
                    0 => {}
                    // While it connects.
                    1 => {
                        channel.wake();
                        cancelled(std::future::pending::<()>()).await;
                    }
                    // Under a call.
                    2 => drop(cancelled(any_call(&channel)).await),
                    // After a call.
                    3 => drop(unary(&channel).await.unwrap()),
                    // Before the end of a stream, which goes on.
                    _ => {
                        let mut answers = stream(&channel, 2).await.unwrap();
                        drop(channel);
                        while answers.message().await.unwrap().is_some() {}
                    }
                }
            }
            is_held_again(&nothing, &servers, "after the channels").await;
        });
    });
}

#[test]
fn cancelled_probes_of_a_circuit_breaker_are_given_back() {
    bounded(async {
        let breaker = CircuitBreaker {
            consecutive_failures: Some(2),
            open_for: Duration::from_millis(200),
            probes: 2,
            max_open_percent: 100,
            ..CircuitBreaker::default()
        };
        let mut servers = [Server::start()];
        let (channel, _) =
            connected(Policy::builder().circuit_breaker(breaker).max_concurrent_requests(CALLS).build(), &servers)
                .await;
        servers[0].order("refuse 100");
        for _ in 0..2 {
            assert_eq!(unary(&channel).await.unwrap_err().code(), Code::Unavailable);
        }
        let circuit = || channel.endpoints()[0].circuit;
        assert_eq!(circuit(), Circuit::Open);
        servers[0].order("refuse 0");
        servers[0].order("delay 1000");
        until("the circuit is half-open", || circuit() == Circuit::HalfOpen).await;
        // One that is lost would let only one more pass, two would let none.
        for _ in 0..100 {
            if let Some(result) = cancelled(unary(&channel)).await {
                panic!("not a probe: {result:?}");
            }
        }
        assert_eq!(circuit(), Circuit::HalfOpen);
        servers[0].order("delay 0");
        let (one, other) = tokio::join!(unary(&channel), unary(&channel));
        assert!(one.is_ok() && other.is_ok(), "{one:?}, {other:?}");
        assert_eq!(circuit(), Circuit::Closed);
        assert_eq!(ConcurrencyLimit::of_target(channel.target(), CALLS).in_flight(), 0);
    });
}
