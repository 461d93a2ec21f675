//! Three nodes, of which the one that leads is lost under load.

use std::sync::Arc;
use std::time::Duration;

use meshwork_events::jetstream::{JetStreamBus, JetStreamOptions};
use meshwork_testkit::Nats;
use tokio::time::sleep;

use crate::flow::Flow;
use crate::running::times;
use crate::servers::{at, options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nt_3_a_cluster_that_elects_and_loses_its_leader_under_load_loses_and_doubles_nothing() {
    const STREAM: &str = "elected";
    let nats = Arc::new(Nats::cluster());
    let options = JetStreamOptions { replicas: 3, ..options(&nats.url()) };
    let (relays, consumes) =
        (JetStreamBus::connect(options.clone()).await.unwrap(), JetStreamBus::connect(options).await.unwrap());
    let flow = Flow::start(STREAM, Duration::from_millis(10), [relays.clone(), consumes]).await;
    for _ in 0..times(1, 10) {
        // It stays, and another one leads: for a moment none does.
        at(&nats, |nats| nats.api("STREAM.LEADER.STEPDOWN.ELECTED", "")).await;
        flow.goes_on(50).await;
        let killed = |nats: &Nats| {
            let leader = nats.leader_of("ELECTED");
            nats.node(leader).kill();
            leader
        };
        let first = at(&nats, killed).await;
        sleep(Duration::from_secs(1)).await;
        let second = at(&nats, |nats| nats.leader_of("ELECTED")).await;
        assert_ne!(first, second);
        flow.goes_on(50).await;
        at(&nats, Nats::restart).await;
        flow.goes_on(50).await;
    }
    flow.ends_well(&*relays).await;
}
