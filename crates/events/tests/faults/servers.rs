//! NATS servers, and buses on them.

use std::sync::{Arc, Mutex, Weak};

use meshwork_events::jetstream::{JetStreamBus, JetStreamOptions};
use meshwork_testkit::Nats;
use serde_json::Value;

/// A server for those who do nothing to it but to their own streams.
pub(crate) fn shared() -> Arc<Nats> {
    static SHARED: Mutex<Weak<Nats>> = Mutex::new(Weak::new());
    // It ends with the last test that uses it: nothing that is static is ever dropped.
    let mut shared = SHARED.lock().unwrap();
    let nats = shared.upgrade().unwrap_or_else(|| Arc::new(Nats::start()));
    *shared = Arc::downgrade(&nats);
    nats
}

/// Streams that many of find room on a server.
pub(crate) fn options(url: &str) -> JetStreamOptions {
    JetStreamOptions { url: url.to_owned(), max_bytes: 64 << 20, ..JetStreamOptions::default() }
}

/// A bus of its own connection, as another process has it.
pub(crate) async fn bus(url: &str) -> Arc<JetStreamBus> {
    JetStreamBus::connect(options(url)).await.unwrap()
}

/// Does something to a server that takes a while, beside what else there is to do.
pub(crate) async fn at<T: Send + 'static>(nats: &Arc<Nats>, work: impl FnOnce(&Nats) -> T + Send + 'static) -> T {
    let nats = nats.clone();
    tokio::task::spawn_blocking(move || work(&nats)).await.unwrap()
}

/// What JetStream answers to an administrator, who is not refused.
pub(crate) async fn admin(nats: &Arc<Nats>, call: String, request: String) -> Value {
    let answer = at(nats, move |nats| nats.api(&call, &request)).await;
    assert!(answer["error"].is_null(), "{answer}");
    answer
}

/// Has the server forget soon what it has just seen: what keeps duplicates away then is the fence alone.
pub(crate) async fn forgets_ids(nats: &Arc<Nats>, stream: &str) {
    let name = stream.to_uppercase();
    let mut config = admin(nats, format!("STREAM.INFO.{name}"), String::new()).await["config"].take();
    config["duplicate_window"] = Value::from(100_000_000);
    admin(nats, format!("STREAM.UPDATE.{name}"), config.to_string()).await;
}
