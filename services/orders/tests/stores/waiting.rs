//! The watchdog over stores: all that wait have their turn, whatever becomes of the others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use meshwork_chassis::CancellationToken;
use meshwork_events::Progress;
use meshwork_eventstore::{
    Append, AppendError, Appended, Beats, Commit, EventStore, SqliteEventStore, StoreError as EventStoreError,
};
use meshwork_orders::adapters::event_store::EventOrderStore;
use meshwork_orders::app::{App, AppError};
use meshwork_orders::domain::OrderEvent;
use meshwork_orders::ports::{OrderStore, StoreError};
use meshwork_orders::testing::{append, created, folded, order_name, second};

use crate::projections::run;
use crate::rooms::{PATIENCE, Rooms, both, many};

/// How long the inventory may take. The orders of these tests are older by far.
const SILENCE: Duration = Duration::from_secs(60);

fn app(rooms: &Rooms, store: Arc<dyn OrderStore>) -> App {
    App { store, ..rooms.app(&Progress::new(rooms.events.partitions())) }
}

/// Places orders that wait, and shows them in the view, which knows of nothing that happens later.
async fn placed(rooms: &Rooms, ids: &[String]) {
    for (id, seconds) in ids.iter().zip(1..) {
        append(rooms.store.as_ref(), id, "a", &[created("anna")], second(seconds)).await.unwrap();
    }
    shown(rooms).await;
}

/// Lets the view come to what is stored.
async fn shown(rooms: &Rooms) {
    let shutdown = CancellationToken::new();
    let projector = rooms.project(&shutdown);
    rooms.caught_up().await;
    shutdown.cancel();
    tokio::time::timeout(PATIENCE, projector).await.unwrap().unwrap();
}

/// The number of the last request about an order.
async fn requests(rooms: &Rooms, id: &str) -> u32 {
    folded(rooms.store.as_ref(), &order_name(id)).await.unwrap().reservation_requests
}

#[tokio::test]
async fn the_watchdog_passes_over_orders_that_can_not_be_read_however_many() {
    for rooms in both(1).await {
        let mut ids = many(101);
        let sound = ids.pop().unwrap();
        placed(&rooms, &[ids.clone(), vec![sound.clone()]].concat()).await;
        for id in &ids {
            rooms.plant(id, "b", "order_confirmed", &[0xff]).await;
        }
        let (app, mut cursor) = (app(&rooms, rooms.store.clone()), None);
        assert_eq!(app.watch_over_waiting(SILENCE, &mut cursor).await.unwrap(), 100);
        assert_eq!(requests(&rooms, &sound).await, 0);
        assert_eq!(app.watch_over_waiting(SILENCE, &mut cursor).await.unwrap(), 1);
        assert_eq!(requests(&rooms, &sound).await, 1);
        assert_eq!(cursor, None, "it begins anew");
    }
}

#[tokio::test]
async fn a_row_that_names_no_order_takes_no_other_orders_turn() {
    for rooms in both(1).await {
        let ids = many(101);
        placed(&rooms, &ids).await;
        // The last of its batch: the next one begins behind it.
        run(&rooms, "UPDATE orders SET id = 'NO NAME' WHERE id = 'many-0099'".to_owned()).await;
        let (app, mut cursor) = (app(&rooms, rooms.store.clone()), None);
        for _ in 0..2 {
            assert_eq!(app.watch_over_waiting(SILENCE, &mut cursor).await.unwrap(), 100);
            assert_eq!(app.watch_over_waiting(SILENCE, &mut cursor).await.unwrap(), 1);
            assert_eq!(cursor, None);
        }
        for (at, id) in ids.iter().enumerate() {
            assert_eq!(requests(&rooms, id).await, u32::from(at != 99), "{id}");
        }
    }
}

/// A store that can't read one order.
struct Ailing {
    store: Arc<SqliteEventStore>,
    ill: String,
}

#[async_trait]
impl EventStore for Ailing {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.store.append(append).await
    }

    async fn find(&self, stream: &str, command_id: &str) -> Result<Option<Commit>, EventStoreError> {
        self.store.find(stream, command_id).await
    }

    async fn read(&self, stream: &str, after: i64) -> Result<Vec<Commit>, EventStoreError> {
        if stream == self.ill {
            return Err(EventStoreError::Unavailable("no answer".to_owned()));
        }
        self.store.read(stream, after).await
    }

    async fn read_partition(&self, partition: u16, after: i64, limit: usize) -> Result<Vec<Commit>, EventStoreError> {
        self.store.read_partition(partition, after, limit).await
    }

    async fn head(&self, partition: u16) -> Result<i64, EventStoreError> {
        self.store.head(partition).await
    }

    fn partitions(&self) -> u16 {
        self.store.partitions()
    }

    fn beats(&self, partition: u16) -> Beats {
        self.store.beats(partition)
    }
}

#[tokio::test]
async fn an_order_that_fails_each_time_takes_no_other_orders_turn() {
    let [rooms, _] = both(1).await;
    let ids = many(5);
    placed(&rooms, &ids).await;
    let ailing = Ailing { store: rooms.events.clone(), ill: format!("orders/{}", ids[1]) };
    let (app, mut cursor) = (app(&rooms, Arc::new(EventOrderStore::new(Arc::new(ailing)))), None);
    for _ in 0..2 {
        let failed = app.watch_over_waiting(SILENCE, &mut cursor).await;
        assert!(matches!(failed, Err(AppError::Store(StoreError::Unavailable(_)))), "{failed:?}");
        assert_eq!(app.watch_over_waiting(SILENCE, &mut cursor).await.unwrap(), 3);
        assert_eq!(cursor, None);
    }
    for (at, id) in ids.iter().enumerate() {
        assert_eq!(requests(&rooms, id).await, u32::from(at != 1), "{id}");
    }
}

#[tokio::test]
async fn many_that_wait_are_asked_about_by_and_by_and_once_by_two_watchdogs() {
    for rooms in both(4).await {
        let ids = many(150);
        placed(&rooms, &ids).await;
        let watchdog = async || {
            let (app, mut cursor, mut batches) = (app(&rooms, rooms.store.clone()), None, Vec::new());
            loop {
                batches.push(app.watch_over_waiting(SILENCE, &mut cursor).await.unwrap());
                if cursor.is_none() {
                    return batches;
                }
            }
        };
        let (one, other) = tokio::join!(watchdog(), watchdog());
        // The view stands still, and shows each of them all.
        assert_eq!((one, other), (vec![100, 50], vec![100, 50]));
        for id in &ids {
            let history = rooms.store.history(&order_name(id), 1).await.unwrap();
            let history: Vec<_> = history.into_iter().map(|recorded| recorded.event).collect();
            assert_eq!(history, [OrderEvent::ReservationRequested { attempt: 1, confirmed: false }], "{id}");
        }
        // Nor are they asked about again before the time is over, once the view knows of it.
        shown(&rooms).await;
        assert_eq!(watchdog().await, vec![0_usize]);
    }
}

#[tokio::test]
async fn an_order_that_was_allocated_behind_the_views_back_is_left_alone() {
    for rooms in both(1).await {
        let story: [(&str, &[OrderEvent]); 3] = [
            ("pending", &[]),
            ("confirmed", &[OrderEvent::Confirmed]),
            ("allocated", &[OrderEvent::Confirmed, OrderEvent::Allocated]),
        ];
        placed(&rooms, &story.map(|(id, _)| id.to_owned())).await;
        for (id, events) in story.iter().filter(|(_, events)| !events.is_empty()) {
            append(rooms.store.as_ref(), id, "b", events, second(9)).await.unwrap();
        }
        let app = app(&rooms, rooms.store.clone());
        assert_eq!(app.watch_over_waiting(SILENCE, &mut None).await.unwrap(), 3);
        let mut asked = BTreeSet::new();
        for (id, _) in story {
            asked.insert((id, requests(&rooms, id).await));
        }
        assert_eq!(asked, BTreeSet::from([("allocated", 0), ("confirmed", 4), ("pending", 1)]));
    }
}
