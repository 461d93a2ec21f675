//! Rebuilding the lists.

use std::sync::Arc;
use std::time::{Duration, Instant};

use meshwork_eventstore::projection::{ProjectionProgress, ProjectionStore, Projections, Projector, ProjectorHook};
use meshwork_eventstore::{EventStore, SqliteEventStore};
use meshwork_orders::adapters::event_store::EventOrderStore;
use meshwork_orders::adapters::read_model::{PostgresReadModel, SqliteReadModel};
use meshwork_orders::domain::OrderEvent;
use meshwork_orders::testing::{append, created, second};
use meshwork_sql::PostgresOptions;
use meshwork_testkit::Postgres;
use serde_json::json;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Values;

/// How many orders there are, of two commits each.
const ORDERS: usize = 5_000;

/// Nobody asks how far behind the lists are.
struct Silent;

impl ProjectorHook for Silent {
    fn reached(&self, _: i64, _: u16, _: i64, _: OffsetDateTime) {}

    fn caught_up(&self, _: u16, _: tokio::time::Instant) {}

    fn diverged(&self, _: u16, _: &str) {}
}

pub(crate) async fn measure(postgres: &Postgres, values: &mut Values) {
    let folder = tempfile::tempdir().unwrap();
    let events = Arc::new(SqliteEventStore::open(&folder.path().join("events.db"), 4).await.unwrap());
    let store = Arc::new(EventOrderStore::new(events.clone()));
    let fillers: Vec<_> = (0..16)
        .map(|filler| {
            let store = store.clone();
            tokio::spawn(async move {
                for at in (filler..ORDERS).step_by(16) {
                    let id = format!("order-{at}");
                    append(store.as_ref(), &id, "a", &[created("anna")], second(1)).await.unwrap();
                    append(store.as_ref(), &id, "b", &[OrderEvent::Confirmed], second(2)).await.unwrap();
                }
            })
        })
        .collect();
    for filler in fillers {
        filler.await.unwrap();
    }
    let sqlite = SqliteReadModel::open(&folder.path().join("view.db")).await.unwrap();
    rebuild("sqlite", events.clone(), Arc::new(sqlite), values).await;
    let postgres = PostgresReadModel::open(&PostgresOptions::new(postgres.database())).await.unwrap();
    rebuild("postgresql", events, Arc::new(postgres), values).await;
}

async fn rebuild(name: &str, events: Arc<dyn EventStore>, view: Arc<dyn ProjectionStore>, values: &mut Values) {
    let stop = CancellationToken::new();
    let projector = Projector::new(events.clone(), view.clone(), Arc::new(Silent));
    let following = tokio::spawn(projector.run(stop.clone()));
    for partition in 0..events.partitions() {
        let head = events.head(partition).await.unwrap();
        while view.checkpoint(1, partition).await.unwrap().position < head {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let projections = Projections::new(events, view);
    let begun = Instant::now();
    let report = projections.rebuild(false, watch::Sender::new(ProjectionProgress::default())).await.unwrap();
    assert_eq!((report.rows, report.differing), (ORDERS as u64, 0));
    let rate = report.commits as f64 / begun.elapsed().as_secs_f64();
    stop.cancel();
    following.await.unwrap();
    values.insert(format!("rebuild_commits_per_second_{name}"), json!(rate.round()));
}
