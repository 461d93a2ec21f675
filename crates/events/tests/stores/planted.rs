//! Positions from a sequence: what PostgreSQL would allow, and one writer can't.

use super::appends::slow_and_fast;

/// Row 2 may be committed before row 1: who has passed 2 never sees 1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_from_a_sequence_are_seen() {
    let sql = "INSERT INTO outbox (partition, n, type, subject, version, time, data) \
               VALUES (1, nextval('planted'), 'happened', $1, 1, 0, '')";
    let broken = slow_and_fast(Some(["CREATE SEQUENCE planted", sql])).await.unwrap_err();
    assert!(broken.contains("2 comes where 1 should"), "{broken}");
}
