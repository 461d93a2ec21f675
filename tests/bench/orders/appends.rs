//! Appends beside plain inserts.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use hdrhistogram::Histogram;
use meshwork_eventstore::mongodb::{MongoOptions, MongoServer};
use meshwork_eventstore::testing::command;
use meshwork_eventstore::{EventStore, Expected, SqliteEventStore};
use meshwork_testkit::Mongo;
use mongodb::bson::{Document, doc};
use mongodb::options::{Acknowledgment, CollectionOptions, IndexOptions, WriteConcern};
use mongodb::{Client, Collection, IndexModel};
use serde_json::json;

use crate::{Values, millis, rounded};

const WRITERS: usize = 16;
/// How many each writer makes in a round.
const EACH: usize = 40;
const ROUNDS: usize = 9;

/// One measurement: how long it took, and each operation.
struct Round {
    seconds: f64,
    each: Histogram<u64>,
}

pub(crate) async fn measure(mongo: &Mongo, values: &mut Values) {
    let options = MongoOptions { database: mongo.database(), ..MongoOptions::new(mongo.uri()) };
    let store: Arc<dyn EventStore> = Arc::new(MongoServer::open(&options).await.unwrap());
    let client = Client::with_uri_str(mongo.uri()).await.unwrap();
    let concern = WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build();
    let plain = CollectionOptions::builder().write_concern(concern).build();
    let database = client.database(&options.database);
    let commits: Collection<Document> = database.collection_with_options("commits_plain", plain);
    for keys in [doc! { "p": 1, "s": 1, "v": 1 }, doc! { "p": 1, "n": 1 }] {
        let unique = IndexOptions::builder().unique(true).build();
        commits.create_index(IndexModel::builder().keys(keys).options(unique).build()).await.unwrap();
    }
    // Once for both collections, so that each has the same indexes, those that make reads quick included.
    mongo.index(&options.database);

    append(&store, 0).await;
    let sample = database.collection::<Document>("commits").find_one(doc! {}).await.unwrap().unwrap();
    insert(&commits, &sample, 0).await;
    let (mut ratios, mut appends, mut inserts) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        // Who begins changes from round to round.
        let (appended, inserted) = if round % 2 == 0 {
            (append(&store, round).await, insert(&commits, &sample, round).await)
        } else {
            let inserted = insert(&commits, &sample, round).await;
            (append(&store, round).await, inserted)
        };
        ratios.push(appended.seconds / inserted.seconds);
        appends.push(appended);
        inserts.push(inserted);
    }
    ratios.sort_by(f64::total_cmp);
    values.insert("append_cost_against_insert".to_owned(), json!(rounded(ratios[ROUNDS / 2])));
    values.insert("append_cost_least_and_most".to_owned(), json!([rounded(ratios[0]), rounded(ratios[ROUNDS - 1])]));
    put("append_server", &appends, values);
    put("insert_server", &inserts, values);

    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteEventStore::open(&folder.path().join("events.db"), 16).await.unwrap();
    let sqlite: Arc<dyn EventStore> = Arc::new(sqlite);
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        rounds.push(append(&sqlite, round).await);
    }
    put("append_sqlite", &rounds, values);
}

fn put(name: &str, rounds: &[Round], values: &mut Values) {
    let mut rates: Vec<_> = rounds.iter().map(|round| (WRITERS * EACH) as f64 / round.seconds).collect();
    rates.sort_by(f64::total_cmp);
    let mut each = Histogram::new(3).unwrap();
    for round in rounds {
        each.add(&round.each).unwrap();
    }
    values.insert(format!("{name}_per_second"), json!(rates[rates.len() / 2].round()));
    values.insert(format!("{name}_ms_p99"), millis(&each, 0.99));
}

/// Sixteen writers, each on a stream of its own whose version it knows.
async fn append(store: &Arc<dyn EventStore>, round: usize) -> Round {
    let write = |writer: usize| {
        let store = store.clone();
        async move {
            let stream = format!("orders/{round}-{writer}");
            let mut each = Vec::with_capacity(EACH);
            for at in 0..EACH {
                let expected = Expected::Exact(i64::try_from(at).unwrap());
                let mut append = command(&stream, expected, &format!("{at}"), 1);
                append.events[0].data = vec![7; 300].into();
                let called = Instant::now();
                store.append(append).await.unwrap();
                each.push(called.elapsed());
            }
            each
        }
    };
    timed(write).await
}

/// Sixteen writers of documents with the same fields and bytes.
async fn insert(commits: &Collection<Document>, sample: &Document, round: usize) -> Round {
    static POSITION: AtomicI64 = AtomicI64::new(1);
    let write = |writer: usize| {
        let (commits, sample) = (commits.clone(), sample.clone());
        async move {
            let stream = format!("orders/{round}-{writer}");
            let mut each = Vec::with_capacity(EACH);
            for at in 0..EACH {
                let mut document = sample.clone();
                document.insert("_id", format!("{stream}/{at}"));
                document.insert("s", &stream);
                document.insert("v", i64::try_from(at + 1).unwrap());
                document.insert("n", POSITION.fetch_add(1, Ordering::Relaxed));
                let called = Instant::now();
                commits.insert_one(&document).await.unwrap();
                each.push(called.elapsed());
            }
            each
        }
    };
    timed(write).await
}

async fn timed<F: Future<Output = Vec<std::time::Duration>> + Send + 'static>(write: impl Fn(usize) -> F) -> Round {
    let begun = Instant::now();
    let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write(writer))).collect();
    let mut each = Histogram::new(3).unwrap();
    for writer in writers {
        for took in writer.await.unwrap() {
            each.record(u64::try_from(took.as_micros()).unwrap()).unwrap();
        }
    }
    Round { seconds: begun.elapsed().as_secs_f64(), each }
}
