//! Mail systems that take their time, over leases that are shorter.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use meshwork_aip::page::PageRequest;
use meshwork_api::UserName;
use meshwork_chassis::{CancellationToken, SystemClock};
use meshwork_notifications::adapters::SqliteNotificationStore;
use meshwork_notifications::adapters::store::sqlite::COMPONENTS;
use meshwork_notifications::app::{Notifications, Rules};
use meshwork_notifications::domain::{Freshness, Notification, State};
use meshwork_notifications::ports::{
    Letter, LookupError, MailError, Mailer, NotificationStore, Recipient, Recipients, Selection,
};
use meshwork_notifications::testing::{delivered, first};
use meshwork_sql::Sqlite;
use tempfile::TempDir;
use tokio::sync::watch;

const LEASE: Duration = Duration::from_secs(3);
const ANY_AGE: Freshness = Freshness { mail_old_events: true, max_age: Duration::MAX };

/// Everybody has an address.
struct Everybody;

#[async_trait]
impl Recipients for Everybody {
    async fn find(&self, user: &UserName) -> Result<Option<Recipient>, LookupError> {
        let email = format!("{}@example.com", user.id());
        Ok(Some(Recipient { email, display_name: String::new() }))
    }
}

/// Takes letters once it is told to.
#[derive(Default)]
struct Slow {
    takes: watch::Sender<bool>,
    /// How many letters were handed to it, and how many of these conversations have ended, however that was.
    begun: watch::Sender<u32>,
    ended: watch::Sender<u32>,
}

/// Counts when it is dropped.
struct Counts<'a>(&'a watch::Sender<u32>);

impl Drop for Counts<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count += 1);
    }
}

#[async_trait]
impl Mailer for Slow {
    async fn send(&self, _letter: Letter) -> Result<(), MailError> {
        let _ends = Counts(&self.ended);
        self.begun.send_modify(|count| *count += 1);
        self.takes.subscribe().wait_for(|takes| *takes).await.unwrap();
        Ok(())
    }
}

/// Waits until so many are counted.
async fn counted(count: &watch::Sender<u32>, expected: u32) {
    let mut count = count.subscribe();
    tokio::time::timeout(Duration::from_secs(20), count.wait_for(|count| *count >= expected)).await.unwrap().unwrap();
}

/// One letter that is due, and instances of the service that send it.
struct World {
    folder: TempDir,
    mailer: Arc<Slow>,
    shutdown: CancellationToken,
    store: Arc<dyn NotificationStore>,
}

async fn open(folder: &Path) -> Sqlite {
    Sqlite::open(&folder.join("notifications.db"), &COMPONENTS).await.unwrap()
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteNotificationStore::new(open(folder.path()).await));
        store.record(first("a"), delivered("a", "anna"), ANY_AGE).await.unwrap();
        Self { folder, mailer: Arc::default(), shutdown: CancellationToken::new(), store }
    }

    /// Starts an instance.
    async fn send(&self) {
        let day = Duration::from_secs(86_400);
        let rules = Rules { lease: LEASE, give_up_after: day, retention: day, freshness: ANY_AGE };
        let store = Arc::new(SqliteNotificationStore::new(open(self.folder.path()).await));
        let (mailer, clock) = (self.mailer.clone(), Arc::new(SystemClock));
        let app = Arc::new(Notifications::new(store, Arc::new(Everybody), mailer, clock, rules));
        tokio::spawn(app.send_due(self.shutdown.clone()));
    }

    async fn letter(&self) -> Notification {
        let page = self.store.list(Selection::default(), PageRequest { size: 9, after: None }).await.unwrap();
        let [letter] = page.items.try_into().unwrap();
        letter
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_is_taken_slowly_is_handed_over_once() {
    let world = World::start().await;
    world.send().await;
    world.send().await;
    counted(&world.mailer.begun, 1).await;
    tokio::time::sleep(LEASE + LEASE / 2).await;
    let under_way = world.letter().await;
    assert_eq!((under_way.state, under_way.attempts), (State::Sending, 1));
    world.mailer.takes.send_replace(true);
    counted(&world.mailer.ended, 1).await;
    let sent = async {
        loop {
            let letter = world.letter().await;
            if letter.state == State::Sent {
                return letter;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let sent = tokio::time::timeout(Duration::from_secs(20), sent).await.unwrap();
    assert_eq!((sent.attempts, *world.mailer.begun.borrow()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_that_has_lost_its_letter_stops_and_settles_nothing() {
    let world = World::start().await;
    world.send().await;
    counted(&world.mailer.begun, 1).await;
    // As if it had stood still for longer than its lease, and another instance had begun the next try.
    let db = open(world.folder.path()).await;
    let lost = db.write_once::<_, meshwork_sql::Error, _>(|connection| {
        Box::pin(async move {
            let lost = "UPDATE notification SET attempts = 2, lease_until = 9000000000000000";
            sqlx::query(lost).execute(connection).await?;
            Ok(())
        })
    });
    lost.await.unwrap();
    counted(&world.mailer.ended, 1).await;
    world.mailer.takes.send_replace(true);
    tokio::time::sleep(LEASE / 2).await;
    let letter = world.letter().await;
    assert_eq!((letter.state, letter.attempts, letter.send_time), (State::Sending, 2, None));
    assert_eq!(*world.mailer.begun.borrow(), 1);
}
