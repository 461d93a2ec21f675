//! A move of slots under load, beside the same load without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use meshwork_sql::shards::Shards;
use meshwork_sql::shards::moving::{MoveSpec, MovedTable, Mover, NothingToDrain, Rows, Target};
use meshwork_testkit::Postgres;

use crate::accounts::{self, SPACE};
use crate::{Values, rounded};

/// How many slots are moved.
const SLOTS: usize = 64;
/// How many callers change accounts all the time, one after the other.
const CALLERS: usize = 8;
/// How long the quiet run takes.
const QUIET: Duration = Duration::from_secs(10);

/// What moves with its account: the account.
static TABLES: [MovedTable; 1] = [MovedTable {
    table: "account",
    space: SPACE,
    primary_key: &["id"],
    rows: Rows::Columns { slot: "slot", key: "id" },
    target: Target::Same,
}];

pub(crate) async fn measure(values: &mut Values) {
    let postgres = tokio::task::spawn_blocking(Postgres::durable).await.unwrap();
    let shards = accounts::spread(&[postgres.database(), postgres.database()]).await;
    let quiet = Load::start(&shards);
    tokio::time::sleep(QUIET).await;
    let quiet = quiet.stop().await;

    let map = shards.map();
    let pieces: Vec<_> = map.pieces(SPACE).filter(|piece| piece.shard == 0).map(|piece| piece.piece).collect();
    let pieces = pieces[..SLOTS].to_vec();
    let count = "SELECT count(*) FROM account WHERE slot = ANY($1)";
    let rows = sqlx::query_scalar(count).bind(pieces.clone());
    let rows: i64 = rows.fetch_one(shards.shards()[0].db.reader()).await.unwrap();
    let load = Load::start(&shards);
    let begun = Instant::now();
    let spec = MoveSpec { space: SPACE, pieces, from: 0, to: 1 };
    Mover::new(&shards, &TABLES, &NothingToDrain).run(spec, &mut |_| {}).await.unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    let moving = load.stop().await;

    values.add("moved_rows", rows);
    values.add("moved_rows_per_second", (rows as f64 / seconds).round());
    values.add("moved_in_ms", rounded(seconds * 1e3));
    quiet.add_to(values, "quiet");
    moving.add_to(values, "moving");
    values.add("moving_p99_against_quiet", rounded(moving.ms(0.99) / quiet.ms(0.99)));
}

/// Callers that change accounts.
struct Load {
    stop: Arc<AtomicBool>,
    begun: Instant,
    callers: Vec<tokio::task::JoinHandle<Histogram<u64>>>,
}

/// How long changes took, in microseconds, and how many there were a second.
struct Times {
    each: Histogram<u64>,
    per_second: f64,
}

impl Load {
    fn start(shards: &Shards<()>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let callers = (0..CALLERS)
            .map(|caller| {
                let (shards, stop) = (shards.clone(), stop.clone());
                tokio::spawn(async move {
                    let mut random = fastrand::Rng::with_seed(caller as u64);
                    let mut each = Histogram::<u64>::new(3).unwrap();
                    while !stop.load(Ordering::Relaxed) {
                        let id = accounts::any(&mut random);
                        let called = Instant::now();
                        accounts::update(&shards, &id).await.unwrap();
                        each.record(u64::try_from(called.elapsed().as_micros()).unwrap()).unwrap();
                    }
                    each
                })
            })
            .collect();
        Self { stop, begun: Instant::now(), callers }
    }

    async fn stop(self) -> Times {
        self.stop.store(true, Ordering::Relaxed);
        let mut each = Histogram::<u64>::new(3).unwrap();
        for caller in self.callers {
            each.add(caller.await.unwrap()).unwrap();
        }
        let per_second = each.len() as f64 / self.begun.elapsed().as_secs_f64();
        Times { each, per_second }
    }
}

impl Times {
    fn ms(&self, quantile: f64) -> f64 {
        self.each.value_at_quantile(quantile) as f64 / 1e3
    }

    fn add_to(&self, values: &mut Values, prefix: &str) {
        values.add(format!("{prefix}_writes_per_second"), self.per_second.round());
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            values.add(format!("{prefix}_write_ms_{name}"), rounded(self.ms(quantile)));
        }
    }
}
