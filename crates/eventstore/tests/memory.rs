//! The commit log on a database in memory against the conformance suite.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use meshwork_eventstore::testing::{conformance, memory_store};

#[tokio::test]
async fn conforms() {
    for partitions in [1, 16] {
        conformance(Arc::new(memory_store(partitions))).await;
    }
}
