//! Servers that are there and do nothing, or do it slowly.

use std::time::Duration;

use meshwork::Channel;
use meshwork::observe::Circuit;
use meshwork::policy::{CircuitBreaker, LoadBalancing, MethodPolicy, Policy};
use meshwork::transport::Http2Options;
use tokio::time::Instant;
use tonic::Code;

use crate::load::{Load, bounded, channel, connected, explained, policy, status, unary, until};
use crate::process::Server;
use crate::server::UNARY;

#[test]
fn a_frozen_server_costs_no_idempotent_call_gets_next_to_none_and_is_used_again_when_it_thaws() {
    bounded(async {
        let servers = Server::three();
        let (channel, picks) = connected(policy(), &servers).await;
        let load = Load::on(&channel);
        load.more_by(&servers[1], 20).await;
        let before = picks.of(&servers[1]);
        servers[1].freeze();
        load.more(600).await;
        let picked = picks.of(&servers[1]) - before;
        assert!(picked <= 30, "{picked} picks of a frozen server");
        servers[1].signal("CONT");
        load.more_by(&servers[1], 20).await;
        load.end_without_failure().await;
    });
}

#[test]
fn the_circuit_of_a_frozen_server_opens_and_only_probes_go_to_it() {
    const PROBES: u32 = 2;
    bounded(async {
        let servers = Server::three();
        // By turns: nothing but the circuit breaker keeps calls away.
        let breaker = CircuitBreaker {
            consecutive_failures: Some(5),
            open_for: Duration::from_millis(500),
            probes: PROBES,
            ..CircuitBreaker::default()
        };
        let repeated = policy().method(UNARY).as_ref().clone();
        let policy = Policy::builder()
            .load_balancing(LoadBalancing::RoundRobin)
            .circuit_breaker(breaker)
            .service("bench.Echo", repeated)
            .build();
        let (channel, picks) = connected(policy, &servers).await;
        let load = Load::on(&channel);
        load.more_by(&servers[1], 20).await;
        servers[1].freeze();
        let circuit = || status(&channel, &servers[1]).map(|status| status.circuit);
        until("the circuit opens", || circuit() == Some(Circuit::Open)).await;
        let (before, since) = (picks.of(&servers[1]), Instant::now());
        load.more(400).await;
        // Half a second open and another one until a probe is given up.
        let rounds = since.elapsed().as_secs() + 1;
        let picked = picks.of(&servers[1]) - before;
        assert!(picked <= u64::from(PROBES) * rounds, "{picked} picks of a frozen server in {rounds} rounds");
        servers[1].signal("CONT");
        until("the circuit closes", || circuit() == Some(Circuit::Closed)).await;
        load.more_by(&servers[1], 20).await;
        load.end_without_failure().await;
    });
}

#[test]
fn traffic_moves_away_from_a_server_that_is_200_ms_slower() {
    bounded(async {
        let mut servers = Server::three();
        let (channel, picks) = connected(policy(), &servers).await;
        let load = Load::on(&channel);
        load.more_by(&servers[1], 50).await;
        servers[1].order("delay 200");
        // Those under way have to come back before it is known.
        load.more(50).await;
        let (slow, all) = (picks.of(&servers[1]), load.answered());
        load.more(400).await;
        let (slow, all) = (picks.of(&servers[1]) - slow, load.answered() - all);
        assert!(slow * 10 <= all, "{slow} of {all} calls went to the slow server");
        servers[1].order("delay 0");
        load.more_by(&servers[1], 20).await;
        load.end_without_failure().await;
    });
}

#[test]
fn a_connection_that_dies_in_silence_is_unavailable_after_keepalive_interval_and_timeout() {
    bounded(async {
        let server = Server::start();
        let http2 = Http2Options {
            // The shortest that gRFC A8 allows.
            keep_alive_interval: Some(Duration::from_secs(10)),
            keep_alive_timeout: Duration::from_millis(500),
            ..Http2Options::default()
        };
        // Nothing else would end the call.
        let once = Policy::builder().service("bench.Echo", MethodPolicy::default()).build();
        let (channel, _) = channel(Channel::builder().http2(http2), once, &[&server]);
        assert_eq!(unary(&channel).await.unwrap(), server.name());
        server.freeze();
        let status = unary(&channel).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{}", explained(&status));
        server.signal("CONT");
        // A new connection takes its place.
        until("the server is connected again", || channel.endpoints()[0].error.is_none()).await;
        assert_eq!(unary(&channel).await.unwrap(), server.name());
    });
}
