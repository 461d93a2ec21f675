//! The suite that every bus passes.

use meshwork_events::jetstream::{JetStreamBus, JetStreamOptions};
use meshwork_events::testing::conformance;
use meshwork_testkit::Nats;

use crate::server::Reached as _;

async fn conforms_on(nats: &Nats) {
    // The suite has a stream for each of its cases, and all are to find room.
    let replicas = nats.nodes().len();
    let options = JetStreamOptions { replicas, max_bytes: 64 * 1024 * 1024, ..nats.options() };
    conformance(JetStreamBus::connect(options).await.unwrap()).await;
}

#[tokio::test]
async fn conforms() {
    conforms_on(&Nats::start()).await;
}

/// It takes its time where there is one disk, and is for `MESHWORK_TEST_FULL=1`.
#[tokio::test]
async fn conforms_with_three_copies() {
    if std::env::var_os("MESHWORK_TEST_FULL").is_some() {
        conforms_on(&Nats::cluster()).await;
    }
}
