//! Three databases under one map, and movers between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use meshwork_sql::PostgresOptions;
use meshwork_sql::shards::moving::{Handover, MoveError, MoveOptions, MoveProgress, MoveReport, MoveSpec, Mover, Step};
use meshwork_sql::shards::{ShardId, ShardOptions, Shards, SpaceSpec, Strategy};
use meshwork_testkit::Postgres as TestServer;
use tokio::sync::{Mutex, MutexGuard, Notify};

use crate::tables::{ACCOUNTS, COMPONENTS, TABLES};

/// Crash points are those of the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Three databases.
pub(crate) struct World {
    pub(crate) shards: Shards<()>,
    databases: Vec<String>,
    server: TestServer,
    _turn: MutexGuard<'static, ()>,
}

/// Waits for a condition, at most twenty seconds.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let met = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), met).await.unwrap_or_else(|_| panic!("{what} never came"));
}

/// The two strategies.
pub(crate) fn hash() -> Strategy {
    Strategy::Hash
}

pub(crate) fn ranges() -> Strategy {
    Strategy::Range { splits: ["key-05", "key-10", "key-15", "key-20", "key-25"].map(str::to_owned).to_vec() }
}

impl World {
    pub(crate) async fn new(strategy: Strategy) -> Self {
        let turn = ONE_AT_A_TIME.lock().await;
        let server = TestServer::start();
        let urls: Vec<String> = (0..3).map(|_| server.database()).collect();
        let databases = urls.iter().map(|url| url.rsplit_once('/').unwrap().1.to_owned()).collect();
        let options: Vec<ShardOptions> = urls
            .into_iter()
            .zip([(0, "north"), (1, "east"), (2, "south")])
            .map(|(url, (id, name))| ShardOptions { id, name: name.to_owned(), postgres: PostgresOptions::new(url) })
            .collect();
        let spaces = [SpaceSpec { id: ACCOUNTS, name: "accounts", strategy }];
        let shards = Shards::open(&options, COMPONENTS.as_slice(), &spaces, |_, _| ()).await.unwrap();
        Self { shards, databases, server, _turn: turn }
    }

    /// Runs SQL in the database of a shard.
    pub(crate) fn sql(&self, shard: ShardId, sql: &str) -> String {
        self.server.sql(&self.databases[usize::from(shard)], sql)
    }

    /// The number that a SELECT gives in the database of a shard.
    pub(crate) fn number(&self, shard: ShardId, sql: &str) -> i64 {
        self.sql(shard, sql).parse().unwrap()
    }

    /// Moves all pieces of `from` in which these keys lie.
    pub(crate) fn spec(&self, keys: &[String], from: ShardId, to: ShardId) -> MoveSpec {
        let map = self.shards.map();
        let located = keys.iter().map(|key| map.locate(ACCOUNTS, key).unwrap());
        let mut pieces: Vec<i32> =
            located.filter(|located| located.shard == from).map(|located| located.place.piece).collect();
        pieces.sort_unstable();
        pieces.dedup();
        assert!(!pieces.is_empty(), "no key lies in shard {from}");
        MoveSpec { space: ACCOUNTS, pieces, from, to }
    }

    /// A mover whose chunks are small.
    pub(crate) fn mover<'a>(&'a self, handover: &'a dyn Handover) -> Mover<'a, ()> {
        let options = MoveOptions { chunk: 40, fence: Duration::from_secs(3), ..MoveOptions::default() };
        Mover::new(&self.shards, &TABLES, handover).options(options)
    }

    pub(crate) async fn run(&self, spec: &MoveSpec) -> Result<MoveReport, MoveError> {
        self.mover(&Drained::new(true)).run(spec.clone(), &mut |_| {}).await
    }

    /// Moves, and calls `at` when it comes to a step.
    pub(crate) async fn run_with(
        &self,
        spec: &MoveSpec,
        step: Step,
        at: impl Fn(&Self) + Send + Sync,
    ) -> Result<MoveReport, MoveError> {
        let mut progress = |progress: &MoveProgress| {
            if progress.step == step {
                at(self);
            }
        };
        self.mover(&Drained::new(true)).run(spec.clone(), &mut progress).await
    }

    /// Drops a mover when it has come to a step. False when it has come to its end before.
    pub(crate) async fn kill_at(&self, spec: &MoveSpec, step: Step) -> bool {
        let reached = Notify::new();
        let mut progress = |progress: &MoveProgress| {
            if progress.step == step {
                reached.notify_one();
            }
        };
        let handover = Drained::new(true);
        let mover = self.mover(&handover);
        tokio::select! {
            biased;
            () = reached.notified() => true,
            ended = mover.run(spec.clone(), &mut progress) => {
                ended.unwrap();
                false
            }
        }
    }
}

/// A handover that is done when the test says so.
#[derive(Clone)]
pub(crate) struct Drained(Arc<AtomicBool>);

impl Drained {
    pub(crate) fn new(drained: bool) -> Self {
        Self(Arc::new(AtomicBool::new(drained)))
    }

    pub(crate) fn release(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl Handover for Drained {
    async fn is_drained(&self, _from: ShardId) -> Result<bool, String> {
        Ok(self.0.load(Ordering::SeqCst))
    }
}
