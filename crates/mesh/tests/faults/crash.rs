//! Servers that end without a word, and such that are restarted.

use std::time::Duration;

use meshwork::Channel;
use meshwork::balance::{Candidate, PickArgs, Picker};
use meshwork::policy::Policy;
use tonic::Code;

use crate::load::{
    Known as _, Load, bounded, channel, connected, explained, policy, status, unary, unary_when_ready, until,
};
use crate::process::Server;
use crate::server::UNARY;

async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

#[test]
fn a_server_killed_under_load_costs_no_idempotent_call_and_is_used_again_after_its_restart() {
    bounded(async {
        let mut servers = Server::three();
        let (channel, _) = connected(policy(), &servers).await;
        let load = Load::on(&channel);
        load.more_by(&servers[1], 20).await;
        servers[1].kill();
        until("the channel knows", || status(&channel, &servers[1]).is_some_and(|status| !status.is_ready())).await;
        let before = load.answered_by(&servers[1]);
        load.more(200).await;
        assert!(load.answered_by(&servers[1]) - before <= 6, "a dead server answers");
        servers[1].start_again();
        load.more_by(&servers[1], 20).await;
        load.end_without_failure().await;
    });
}

#[test]
fn all_calls_go_to_the_last_server_when_two_of_three_are_killed() {
    bounded(async {
        let mut servers = Server::three();
        let (channel, _) = connected(policy(), &servers).await;
        let load = Load::on(&channel);
        load.more(50).await;
        servers[0].kill();
        servers[2].kill();
        load.more_by(&servers[1], 200).await;
        load.end_without_failure().await;
    });
}

#[test]
fn a_server_that_flaps_costs_no_idempotent_call_and_is_used_when_it_stays() {
    bounded(async {
        let mut servers = Server::three();
        let (channel, picks) = connected(policy(), &servers).await;
        let load = Load::on(&channel);
        load.more(50).await;
        for _ in 0..4 {
            servers[1].kill();
            pause(150).await;
            servers[1].start_again();
            pause(150).await;
        }
        let before = picks.of(&servers[1]);
        load.more_by(&servers[1], 20).await;
        assert!(picks.of(&servers[1]) > before);
        load.end_without_failure().await;
    });
}

/// Always the first one.
struct Stubborn;

impl Picker for Stubborn {
    fn pick(&self, _: &PickArgs<'_>, _: &[Candidate]) -> usize {
        0
    }
}

#[test]
fn a_retry_goes_to_a_server_that_the_call_has_not_tried() {
    bounded(async {
        let mut servers = Server::three();
        // Nothing but the retry keeps calls away.
        let repeated = policy().method(UNARY).as_ref().clone();
        let policy = Policy::builder().service("bench.Echo", repeated).build();
        let builder = Channel::builder().picker(Stubborn);
        let (channel, picks) = channel(builder, policy, &servers.iter().collect::<Vec<_>>());
        channel.wake();
        for server in &servers {
            until("it is connected", || status(&channel, server).is_some_and(|status| status.is_ready())).await;
        }
        servers[0].order("refuse 100");
        servers[1].order("refuse 100");
        for _ in 0..20 {
            assert_eq!(unary(&channel).await.map_err(|status| explained(&status)), Ok(servers[2].name()));
        }
        // The picker has its way with first attempts; further ones soon pass over the server that is known to refuse too.
        let picks: Vec<_> = servers.iter().map(|server| picks.of(server)).collect();
        assert_eq!((picks[0], picks[2]), (20, 20), "{picks:?}");
        assert!((1..=5).contains(&picks[1]), "{picks:?}");
    });
}

#[test]
fn calls_to_a_closed_port_fail_at_once_with_its_address_and_those_that_wait_for_ready_wait_for_it_to_open() {
    bounded(async {
        let mut server = Server::stopped();
        let (channel, _) = channel(Channel::builder(), policy(), &[&server]);
        for _ in 0..20 {
            let status = unary(&channel).await.unwrap_err();
            // The deadline would have another code.
            assert_eq!(status.code(), Code::Unavailable, "{}", explained(&status));
            assert!(status.message().contains(&server.name()), "{}", explained(&status));
            assert!(status.message().contains("refused"), "{}", explained(&status));
        }
        let waiting: Vec<_> = (0..10)
            .map(|_| {
                let channel = channel.clone();
                tokio::spawn(async move { unary_when_ready(&channel).await })
            })
            .collect();
        pause(100).await;
        assert!(waiting.iter().all(|call| !call.is_finished()));
        server.start_again();
        for call in waiting {
            assert_eq!(call.await.unwrap().map_err(|status| explained(&status)), Ok(server.name()));
        }
        // And now others too.
        assert_eq!(unary(&channel).await.unwrap(), server.name());
    });
}

#[test]
fn a_rolling_restart_of_all_servers_under_load_costs_no_call() {
    bounded(async {
        let mut servers = Server::three();
        let (channel, _) = connected(policy(), &servers).await;
        let load = Load::on(&channel);
        load.more(50).await;
        for server in &mut servers {
            server.signal("TERM");
            until("the server ends", || server.has_ended()).await;
            server.start_again();
            load.more_by(server, 10).await;
        }
        load.end_without_failure().await;
    });
}
