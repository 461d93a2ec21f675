//! The measurements on private NATS servers.

use std::ffi::OsString;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use meshwork_events::Bus;
use meshwork_events::jetstream::{JetStreamBus, JetStreamOptions};
use meshwork_testkit::nats::Builder;
use tokio::task::block_in_place;
use tokio::time::{sleep, timeout};

use crate::report::Row;
use crate::running::{PATIENCE, Running, STREAM};
use crate::{lag, throughput};

/// How long it is waited before a cluster that was not ready is asked again.
const AGAIN: Duration = Duration::from_millis(100);

/// Whether there is a NATS server to start.
///
/// # Errors
/// When there is none; says how to get one.
pub fn check() -> Result<(), String> {
    let named = std::env::var_os("MESHWORK_TEST_NATS").filter(|path| !path.is_empty());
    let program = named.unwrap_or_else(|| OsString::from("nats-server"));
    let told = Command::new(&program).arg("--version").output();
    let problem = match told {
        Ok(told) if told.status.success() => return Ok(()),
        Ok(told) => told.status.to_string(),
        Err(error) => error.to_string(),
    };
    Err(format!(
        "this benchmark needs a NATS server, and `{}` can't be run: {problem}; run `cargo xtask bench events`, which \
         installs it and says where it is (MESHWORK_TEST_NATS), or put `nats-server` on the PATH",
        program.display()
    ))
}

/// Measures on servers that are started for it.
pub async fn measure(bus: &'static str, servers: Builder, replicas: usize, rounds: usize) -> Row {
    let nats = block_in_place(|| servers.start());
    declare(&connect(nats.url(), replicas).await).await;
    // Both publishers reach the stream's leader directly: else the one whose server is the leader would be ahead.
    let leader = block_in_place(|| nats.leader_of(&STREAM.to_uppercase()));
    let url = nats.node(leader).url();
    let running = Running::start(connect(url.clone(), replicas).await);
    let client = async_nats::connect(url).await.unwrap();
    let throughput = throughput::measure(&running, client, rounds).await;
    let lag = lag::measure(&running).await;
    running.stop().await;
    Row { bus, throughput: Some(throughput), lag }
}

async fn connect(url: String, replicas: usize) -> Arc<dyn Bus> {
    let options = JetStreamOptions { url, replicas, ..JetStreamOptions::default() };
    JetStreamBus::connect(options).await.unwrap()
}

/// Has the bus declare the stream.
async fn declare(bus: &Arc<dyn Bus>) {
    let declared = async {
        for lane in bus.lanes(STREAM) {
            while bus.publisher(&lane).await.is_err() {
                sleep(AGAIN).await;
            }
        }
    };
    assert!(timeout(PATIENCE, declared).await.is_ok(), "the stream could not be declared within {PATIENCE:?}");
}
