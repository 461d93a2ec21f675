//! The conformance suite: what every store of notifications must do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod lists;
mod old;
mod queue;
mod records;
mod sharing;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use meshwork_aip::page::PageRequest;
use meshwork_api::{OrderName, UserName};
use time::OffsetDateTime;

use crate::domain::{Freshness, Notice, Notification, Occasion, Outcome};
use crate::ports::{Arrival, NotificationStore, Recorded, Selection};

/// For how long the suite claims.
const LEASE: Duration = Duration::from_secs(30);
/// Any age is mailed about.
const ANY_AGE: Freshness = Freshness { mail_old_events: true, max_age: Duration::MAX };

/// An empty database, as two instances of the service have it open.
pub struct Bench {
    /// One of them.
    pub store: Arc<dyn NotificationStore>,
    /// The other.
    pub other: Arc<dyn NotificationStore>,
    /// Runs a statement in the database.
    pub sql: Box<dyn Fn(String) -> BoxFuture<'static, ()> + Send + Sync>,
}

/// Runs the suite; `make` makes an empty database.
pub async fn conformance<F: Future<Output = Bench>>(make: impl Fn() -> F) {
    records::run(&make).await;
    old::run(&make).await;
    queue::run(&make).await;
    sharing::run(&make).await;
    lists::run(&make).await;
}

/// Runs each check on a bench of its own.
macro_rules! run {
    ($make:ident: $($check:ident),* $(,)?) => {
        /// Runs the checks of this file.
        pub(super) async fn run<F: Future<Output = super::Bench>>($make: &impl Fn() -> F) {
            $($check(&$make().await).await;)*
        }
    };
}
use run;

impl Bench {
    /// Runs a statement.
    async fn execute(&self, sql: &str) {
        (self.sql)(sql.to_owned()).await;
    }

    /// Lets time pass: all that is stored is so much older.
    async fn pass(&self, time: Duration) {
        let time = time.as_micros();
        let older = |columns: &[&str]| {
            columns.iter().map(|column| format!("{column} = {column} - {time}")).collect::<Vec<_>>().join(", ")
        };
        let columns = ["next_try_at", "lease_until", "created_at", "sent_at", "ended_at", "resent_at"];
        self.execute(&format!("UPDATE notification SET {}", older(&columns))).await;
        self.execute(&format!("UPDATE order_note SET {}", older(&["noted_at"]))).await;
        self.execute(&format!("UPDATE notification_start SET {}", older(&["at"]))).await;
    }

    /// Records that `orders/{order}` of `users/{user}` was delivered, as its first event; returns the notification.
    async fn deliver(&self, order: &str, user: &str) -> Notification {
        let recorded = self.store.record(first(order), delivered(order, user), ANY_AGE).await.unwrap();
        assert_eq!(recorded, Recorded::Applied);
        self.about(order).await
    }

    /// The one notification about `orders/{order}`.
    async fn about(&self, order: &str) -> Notification {
        let [found] = self.all_about(order).await.try_into().unwrap();
        found
    }

    async fn all_about(&self, order: &str) -> Vec<Notification> {
        let selection = Selection { about: Some(format!("orders/{order}")), ..Selection::default() };
        self.store.list(selection, PageRequest { size: 200, after: None }).await.unwrap().items
    }

    /// All notifications, newest first.
    async fn all(&self) -> Vec<Notification> {
        self.store.list(Selection::default(), PageRequest { size: 200, after: None }).await.unwrap().items
    }

    /// Claims; returns what the letters are about.
    async fn claim(&self, limit: usize) -> Vec<String> {
        self.store.claim(limit, LEASE).await.unwrap().into_iter().map(|it| it.about).collect()
    }

    async fn settle(&self, notification: &Notification, attempt: u32, outcome: Outcome) {
        self.store.settle(notification.id, attempt, outcome).await.unwrap();
    }
}

fn user_name(user: &str) -> UserName {
    format!("users/{user}").parse().unwrap()
}

fn order_name(order: &str) -> OrderName {
    format!("orders/{order}").parse().unwrap()
}

/// What calls for the letter to `users/{user}` that `orders/{order}` was delivered.
pub fn delivered(order: &str, user: &str) -> Notice {
    Notice::Letter { recipient: user_name(user), occasion: Occasion::OrderDelivered { order: order_name(order) } }
}

/// The event of `orders/{order}` with this number, of this moment.
pub fn event(order: &str, version: i64) -> Arrival {
    let subject = format!("orders/{order}");
    Arrival { event_id: format!("{subject}:{version}"), subject, version, time: OffsetDateTime::now_utc() }
}

/// The first event of `orders/{order}`.
pub fn first(order: &str) -> Arrival {
    event(order, 1)
}
