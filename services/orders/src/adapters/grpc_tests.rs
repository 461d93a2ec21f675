use std::sync::Arc;

use async_trait::async_trait;
use meshwork_chassis::{Role, SystemClock};
use meshwork_eventstore::SqliteEventStore;
use tempfile::TempDir;
use time::OffsetDateTime;
use tonic::Code;

use super::*;
use crate::adapters::event_store::EventOrderStore;
use crate::adapters::read_model::SqliteReadModel;
use crate::domain::{Money, OrderEvent};
use crate::ports::{Append, Catalogue, CatalogueError, CatalogueItem};

/// A catalogue that nobody asks.
struct Closed;

#[async_trait]
impl Catalogue for Closed {
    async fn items(&self, _: &[ProductName]) -> Result<Vec<CatalogueItem>, CatalogueError> {
        Err(CatalogueError::Unavailable("closed".to_owned()))
    }
}

/// The use cases on stores in a folder, with an order that was cancelled after four other events.
async fn app(folder: &TempDir, name: &OrderName) -> App {
    let events = SqliteEventStore::open(&folder.path().join("events.db"), 1).await.unwrap();
    let view = SqliteReadModel::open(&folder.path().join("view.db")).await.unwrap();
    let app = App {
        store: Arc::new(EventOrderStore::new(Arc::new(events))),
        read_model: Arc::new(view),
        catalogue: Arc::new(Closed),
        clock: Arc::new(SystemClock),
    };
    let total = Money { currency: "EUR".to_owned(), minor: 0 };
    let events = vec![
        OrderEvent::Created { customer: "users/anna".parse().unwrap(), lines: Vec::new(), total },
        OrderEvent::ReservationRequested { attempt: 1 },
        OrderEvent::ReservationRequested { attempt: 2 },
        OrderEvent::Confirmed,
        OrderEvent::Cancelled { reason: String::new() },
    ];
    let at = OffsetDateTime::UNIX_EPOCH;
    let append = Append { order: name.clone(), before: None, command_id: "history".to_owned(), events, at };
    app.store.append(append).await.unwrap();
    app
}

#[tokio::test]
async fn a_watch_that_a_stop_cuts_short_never_ends_as_if_it_were_whole() {
    let folder = tempfile::tempdir().unwrap();
    let name = OrderName::new("a").unwrap();
    let app = app(&folder, &name).await;
    let staff = Principal::User { name: "users/sam".parse().unwrap(), role: Role::Staff };
    // What a stop meets is a matter of chance: of two things that are ready one is taken.
    for round in 0..400 {
        let watch = app.watch_order(&staff, &name, 0).await.unwrap();
        let shutdown = CancellationToken::new();
        let (responses, mut received) = mpsc::channel(1);
        let following = tokio::spawn(follow(watch, name.clone(), responses, shutdown.clone()));
        while received.is_empty() {
            tokio::task::yield_now().await;
        }
        // The watcher hasn't read the first response, so that the second waits.
        shutdown.cancel();
        let mut told = 0;
        let mut end = None;
        while let Some(response) = received.recv().await {
            assert!(end.is_none(), "round {round}: something came after the end");
            match response {
                Ok(_) => told += 1,
                Err(status) => end = Some(status.code()),
            }
        }
        following.await.unwrap();
        assert_eq!(end, Some(Code::Unavailable), "round {round}: {told} of 5 events, and then an end like any other");
    }
}
