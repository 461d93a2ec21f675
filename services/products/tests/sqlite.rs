//! The embedded store against the conformance suite, and what is its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use meshwork_products::adapters::sqlite::SqliteStore;
use meshwork_products::app::App;
use meshwork_products::app::commands::{AdjustStock, BATCH, OrderMessage, Swept, What};
use meshwork_products::domain::{Input, State};
use meshwork_products::ports::{Applied, Clock};
use meshwork_products::testing::{START, Stores, conformance, created, lines, order, product};
use sqlx::{ConnectOptions, Row};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

fn stores(store: &SqliteStore) -> Stores {
    Stores { catalogue: Arc::new(store.clone()), inventory: Arc::new(store.clone()), events: store.events() }
}

async fn open(folder: &Path) -> Stores {
    stores(&SqliteStore::open(folder).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() {
    let folders: Mutex<Vec<TempDir>> = Mutex::default();
    conformance(|| async {
        let folder = tempfile::tempdir().unwrap();
        let stores = open(folder.path()).await;
        folders.lock().unwrap().push(folder);
        stores
    })
    .await;
}

/// What SQLite holds, past the adapter.
async fn rows(folder: &Path, sql: &'static str) -> Vec<sqlx::sqlite::SqliteRow> {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.join("products.db")).read_only(true);
    sqlx::query(sql).fetch_all(&mut options.connect().await.unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_store_that_is_opened_again_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let history = [(1, created(&[("lamp", 2)])), (2, Input::OrderConfirmed), (3, Input::OrderCancelled)];
    {
        let stores = open(folder.path()).await;
        stores.stocked("lamp", 5).await;
    }
    // The process ends after each event, and the bus, which has heard of none, brings all of them again.
    for known in 0..history.len() {
        let stores = open(folder.path()).await;
        for (at, (version, input)) in history[..=known].iter().enumerate() {
            let expected = if at < known { Applied::Before } else { Applied::Now };
            assert_eq!(stores.hear("o1", *version, input.clone()).await, expected, "version {version}");
        }
        stores.assert_sound(&["lamp"]).await;
    }
    let stores = open(folder.path()).await;
    assert_eq!(stores.pieces("lamp").await, [5, 0, 0, 0]);
    assert_eq!(stores.types("o1").await, ["stock_reserved", "stock_allocated", "stock_released"]);
}

#[tokio::test]
async fn the_ledger_has_every_movement_once() {
    let folder = tempfile::tempdir().unwrap();
    let stores = open(folder.path()).await;
    stores.stocked("lamp", 5).await;
    stores.stocked("torch", 1).await;
    for (version, input) in
        [(1, created(&[("torch", 1), ("lamp", 2)])), (2, Input::OrderConfirmed), (3, Input::OrderShipped)]
    {
        stores.hear("o1", version, input.clone()).await;
        stores.hear("o1", version, input).await;
    }
    // A rejected order has moved nothing, not even what there was enough of.
    stores.hear("o2", 1, created(&[("lamp", 1), ("torch", 1)])).await;
    let ledger = rows(folder.path(), "SELECT * FROM stock_ledger ORDER BY order_id, product, transition").await;
    let ledger: Vec<(String, String, String, i64)> =
        ledger.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect();
    let entry = |product: &str, transition: &str, quantity| {
        ("o1".to_owned(), product.to_owned(), transition.to_owned(), quantity)
    };
    let expected = [
        entry("lamp", "allocate", 2),
        entry("lamp", "hold", 2),
        entry("lamp", "ship", 2),
        entry("torch", "allocate", 1),
        entry("torch", "hold", 1),
        entry("torch", "ship", 1),
    ];
    assert_eq!(ledger, expected);
}

/// A clock that stands still until it is moved.
struct TestClock(Mutex<OffsetDateTime>);

impl TestClock {
    fn move_to(&self, time: OffsetDateTime) {
        *self.0.lock().unwrap() = time;
    }
}

impl Clock for TestClock {
    fn now(&self) -> OffsetDateTime {
        *self.0.lock().unwrap()
    }
}

const TTL: Duration = Duration::minutes(10);

async fn app(folder: &Path) -> (App, Arc<TestClock>, Stores) {
    let stores = open(folder).await;
    let clock = Arc::new(TestClock(Mutex::new(START)));
    let app = App {
        catalogue: stores.catalogue.clone(),
        inventory: stores.inventory.clone(),
        clock: clock.clone(),
        reservation_ttl: TTL,
    };
    (app, clock, stores)
}

#[tokio::test]
async fn a_correction_is_kept_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (app, _, stores) = app(folder.path()).await;
    stores.stocked("lamp", 5).await;
    let adjust = |delta| AdjustStock {
        product: product("lamp"),
        delta,
        reason: "two were broken".to_owned(),
        actor: "users/anna".to_owned(),
        request: None,
    };
    app.adjust_stock(adjust(-2)).await.unwrap();
    app.adjust_stock(adjust(-9)).await.unwrap_err();
    let kept = rows(folder.path(), "SELECT product, delta, reason, actor FROM stock_adjustment").await;
    assert_eq!(kept.len(), 1);
    let kept: (String, i64, String, String) = (kept[0].get(0), kept[0].get(1), kept[0].get(2), kept[0].get(3));
    assert_eq!(kept, ("lamp".to_owned(), -2, "two were broken".to_owned(), "users/anna".to_owned()));
}

async fn place(app: &App, id: &str) {
    let what = What::Created(lines(&[("lamp", 1)]));
    app.handle_order_event(OrderMessage { order: order(id), version: 1, what }).await.unwrap();
}

#[tokio::test]
async fn a_sweep_lets_go_what_is_past_its_time_by_the_clock() {
    let folder = tempfile::tempdir().unwrap();
    let (app, clock, stores) = app(folder.path()).await;
    stores.stocked("lamp", 10).await;
    place(&app, "early").await;
    clock.move_to(START + Duration::MINUTE);
    place(&app, "late").await;
    clock.move_to(START + TTL - Duration::MICROSECOND);
    assert_eq!(app.expire_reservations().await.unwrap(), Swept { expired: 0, more: false });
    clock.move_to(START + TTL);
    assert_eq!(app.expire_reservations().await.unwrap(), Swept { expired: 1, more: false });
    assert_eq!(stores.state("early").await, Some(State::Expired));
    assert_eq!(stores.state("late").await, Some(State::Held));
    clock.move_to(START + TTL * 2);
    assert_eq!(app.expire_reservations().await.unwrap(), Swept { expired: 1, more: false });
    assert_eq!(app.expire_reservations().await.unwrap(), Swept::default());
    stores.assert_sound(&["lamp"]).await;
}

#[tokio::test]
async fn a_sweep_is_bounded_and_says_that_there_is_more() {
    let folder = tempfile::tempdir().unwrap();
    let (app, clock, stores) = app(folder.path()).await;
    let orders = BATCH + 5;
    stores.stocked("lamp", i64::try_from(orders).unwrap()).await;
    let placed: Vec<_> = (0..orders)
        .map(|at| {
            let app = app.clone();
            tokio::spawn(async move { place(&app, &format!("o{at}")).await })
        })
        .collect();
    for placed in placed {
        placed.await.unwrap();
    }
    clock.move_to(START + TTL);
    assert_eq!(app.expire_reservations().await.unwrap(), Swept { expired: BATCH, more: true });
    assert_eq!(app.expire_reservations().await.unwrap(), Swept { expired: 5, more: false });
    stores.assert_sound(&["lamp"]).await;
}

#[tokio::test]
async fn the_tables_refuse_pieces_from_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let stores = open(folder.path()).await;
    stores.stocked("lamp", 5).await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("products.db"));
    let mut connection = options.connect().await.unwrap();
    for sql in [
        "UPDATE stock SET available = available + 1",
        "UPDATE stock SET available = -1, held = 6",
        "UPDATE stock SET available = 5000000000000000, received = 5000000000000000",
    ] {
        let refused = sqlx::query(sql).execute(&mut connection).await.unwrap_err();
        assert!(refused.to_string().contains("CHECK"), "{sql}: {refused}");
    }
}
