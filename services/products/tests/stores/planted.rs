//! Bugs that were planted, and are found: a check that has never failed proves nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use meshwork_products::adapters::store::{Planted, PostgresStore, SqliteStore};
use meshwork_products::testing::{Stores, races};
use meshwork_sql::{Observer, TransactionEnd};

use crate::rooms::{Room, options, server};

/// Counts the transactions that had to be done again.
#[derive(Default)]
struct Conflicts(AtomicU32);

impl Observer for Conflicts {
    fn transaction(&self, _took: Duration, attempts: u32, end: TransactionEnd) {
        if attempts > 1 || end == TransactionEnd::Conflict {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Two handles of a database, with a bug, and how often they were in each other's way.
async fn twins(room: &Room, planted: Option<Planted>) -> ([Stores; 2], Arc<Conflicts>) {
    let Room::Server { url, .. } = room else { panic!("two writers of a file never meet") };
    let conflicts = Arc::new(Conflicts::default());
    let open = async || {
        let store = PostgresStore::open(&options(url, Some(conflicts.clone()))).await.unwrap();
        let store = planted.into_iter().fold(store, PostgresStore::with_bug);
        Stores::of(&store, Arc::new(store.outbox()))
    };
    ([open().await, open().await], conflicts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_that_is_read_and_then_written_is_oversold() {
    let server = server().await;
    let (both, _) = twins(&Room::database(&server).await, Some(Planted::ReadThenWrite)).await;
    let faults = races::more_buyers_than_pieces(&both).await;
    assert!(faults.iter().any(|fault| fault.contains("I2")), "{faults:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_lock_in_their_own_order_wait_for_each_other() {
    let server = server().await;
    for (planted, conflicting) in [(None, false), (Some(Planted::NoLockOrder), true)] {
        let room = Room::database(&server).await;
        if let Room::Server { url, .. } = &room {
            // A deadlock is looked for after a second, of which there would be many. Not every user may say so.
            let database = url.rsplit('/').next().unwrap();
            room.ask(&format!("ALTER DATABASE {database} SET deadlock_timeout = '10ms'")).await.ok();
        }
        let (both, conflicts) = twins(&room, planted).await;
        let faults = races::orders_of_the_same_products(&both).await;
        // The server ends a deadlock, and mostly the next try gets through.
        assert!(planted.is_some() || faults.is_empty(), "{faults:?}");
        let found = conflicts.0.load(Ordering::Relaxed);
        assert_eq!(found > 0, conflicting, "{planted:?}: {found} were in each other's way");
    }
}

#[tokio::test]
async fn a_clock_that_is_ahead_ends_holds_early() {
    let planted = Planted::ApplicationClock(time::Duration::HOUR);
    let Room::File(folder) = Room::file() else { panic!("it is a file") };
    let store = SqliteStore::open(folder.path()).await.unwrap().with_bug(planted);
    let server = server().await;
    let (both, _) = twins(&Room::database(&server).await, Some(planted)).await;
    for stores in [&Stores::of(&store, Arc::new(store.outbox())), &both[0]] {
        let faults = races::e5_holds_that_are_not_over(stores).await;
        assert_eq!(faults.len(), 2, "{faults:?}");
    }
}
