//! The cost of an append as the store grows, and as one stream of it grows.

use std::sync::Arc;
use std::time::Instant;

use hdrhistogram::Histogram;
use meshwork_eventstore::mongodb::{MongoOptions, MongoServer};
use meshwork_eventstore::testing::command;
use meshwork_eventstore::{EventStore, Expected, SqliteEventStore};
use meshwork_testkit::Mongo;

use crate::{Values, millis};

/// How many appends are timed at each size, one after the other.
const TIMED: usize = 200;
/// How many tasks fill the store in between.
const FILLERS: usize = 16;

pub(crate) async fn measure(mongo: &Mongo, values: &mut Values) {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteEventStore::open(&folder.path().join("events.db"), 16).await.unwrap();
    let sqlite: Arc<dyn EventStore> = Arc::new(sqlite);
    grow("sqlite", sqlite.clone(), &[1_000, 10_000, 100_000], values).await;
    lengthen("sqlite", &*sqlite, &[100, 1_000, 10_000], values).await;
    let options = MongoOptions { database: mongo.database(), ..MongoOptions::new(mongo.uri()) };
    let server = MongoServer::open(&options).await.unwrap();
    mongo.index(&options.database);
    let server: Arc<dyn EventStore> = Arc::new(server);
    grow("server", server.clone(), &[1_000, 10_000, 30_000], values).await;
    lengthen("server", &*server, &[100, 1_000], values).await;
}

async fn grow(name: &str, store: Arc<dyn EventStore>, sizes: &[usize], values: &mut Values) {
    let mut filled = 0;
    for size in sizes {
        let fillers: Vec<_> = (0..FILLERS)
            .map(|filler| {
                let (store, from, to) = (store.clone(), filled + filler, *size);
                tokio::spawn(async move {
                    for at in (from..to).step_by(FILLERS) {
                        store.append(command(&format!("fill/{at}"), Expected::NoStream, "a", 1)).await.unwrap();
                    }
                })
            })
            .collect();
        for filler in fillers {
            filler.await.unwrap();
        }
        let mut each: Histogram<u64> = Histogram::new(3).unwrap();
        for at in 0..TIMED {
            let append = command(&format!("timed/{size}/{at}"), Expected::NoStream, "a", 1);
            let called = Instant::now();
            store.append(append).await.unwrap();
            each.record(u64::try_from(called.elapsed().as_micros()).unwrap()).unwrap();
        }
        filled = *size;
        values.insert(format!("append_ms_p50_{name}_at_{size}"), millis(&each, 0.5));
    }
}

async fn lengthen(name: &str, store: &dyn EventStore, lengths: &[i64], values: &mut Values) {
    let mut version = 0;
    for length in lengths {
        while version < *length {
            version = append_behind(store, version).await;
        }
        let mut each: Histogram<u64> = Histogram::new(3).unwrap();
        for _ in 0..TIMED {
            let called = Instant::now();
            version = append_behind(store, version).await;
            each.record(u64::try_from(called.elapsed().as_micros()).unwrap()).unwrap();
        }
        values.insert(format!("append_ms_p50_{name}_stream_of_{length}"), millis(&each, 0.5));
    }
}

async fn append_behind(store: &dyn EventStore, version: i64) -> i64 {
    let append = command("long", Expected::Exact(version), &version.to_string(), 1);
    store.append(append).await.unwrap().commit.version()
}
