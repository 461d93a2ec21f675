//! A state that can't be reached, of a consumer that goes on without it.

use std::sync::Arc;

use meshwork_events::{BestEffort, ConsumerState as _, Position};
use meshwork_sql::Kind;

use super::World;
use super::inbox::Inbox;
use super::ledger::{CONSUMER, open};
use crate::feed::STREAM;

#[tokio::test]
async fn what_can_be_done_without_a_state_is_and_where_it_goes_on_is_an_error() {
    let world = World::new();
    let db = open(&world).await;
    let inbox = Arc::new(Inbox::new(db.clone(), CONSUMER));
    let state = BestEffort::new(inbox.clone());
    assert!(inbox.is_required() && !state.is_required());
    assert_eq!(state.position(STREAM, 0).await.unwrap(), None);
    state.reached(STREAM, Position { partition: 0, n: 3, index: 0 }).await.unwrap();
    assert_eq!(state.position(STREAM, 0).await.unwrap().map(|position| position.n), Some(3));

    db.reader().close().await;
    for _ in 0..2 {
        // To begin anew would have everything handled again.
        assert_eq!(state.position(STREAM, 0).await.unwrap_err().kind(), Kind::Unavailable);
        assert!(!state.blocks("things/one", 2).await.unwrap());
    }
    assert!(inbox.blocks("things/one", 2).await.is_err());
}
