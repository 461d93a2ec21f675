//! `kill -9` of a process that has just kept a snapshot.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshwork_eventstore::{Repository, SnapshotState, SnapshotStore, SqliteEventStore};

use crate::account::{Account, Happened};
use crate::{append, id};

/// Where the process that is killed has its store; set in that process alone.
const FOLDER: &str = "MESHWORK_TEST_KILLED";
/// The test, as the binary of the tests knows it.
const TEST: &str = "killed::a_kill_after_a_snapshot_leaves_an_account_as_its_events_make_it";
/// The longest that the process may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

async fn open(folder: &Path) -> Arc<SqliteEventStore> {
    Arc::new(SqliteEventStore::open(&folder.join("events.db"), 1).await.unwrap())
}

fn marker(folder: &Path) -> PathBuf {
    folder.join("met")
}

/// Appends a hundred events, and stands still once their snapshot is kept.
async fn come_to_the_point(folder: &Path) {
    let met = marker(folder);
    let stand_still = move || {
        std::fs::write(&met, "").unwrap();
        std::thread::sleep(PATIENCE);
    };
    fail::cfg_callback("snapshot::saved", stand_still).unwrap();
    let store = open(folder).await;
    let accounts = Repository::<Account>::new(store.clone()).with_snapshots(store);
    let moves: Vec<_> = std::iter::once(Happened::Opened).chain((1..100).map(|_| Happened::Moved(1))).collect();
    append(&accounts, &moves, id("a")).await;
    accounts.load("a").await.unwrap();
    tokio::time::sleep(PATIENCE).await;
}

#[tokio::test]
async fn a_kill_after_a_snapshot_leaves_an_account_as_its_events_make_it() {
    // The build of `cargo xtask test` has crash points.
    if !fail::has_failpoints() {
        return;
    }
    if let Some(folder) = std::env::var_os(FOLDER) {
        return come_to_the_point(Path::new(&folder)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", TEST]).env(FOLDER, folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut process = Killed(command.spawn().unwrap());
    let deadline = Instant::now() + PATIENCE;
    while !marker(folder.path()).exists() {
        assert!(process.0.try_wait().unwrap().is_none(), "the process has ended before it kept a snapshot");
        assert!(Instant::now() < deadline, "no snapshot was kept within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(process);

    let store = open(folder.path()).await;
    let kept = store.latest("a", Account::SCHEMA).await.unwrap().unwrap();
    assert_eq!((kept.version, Account::decode(&kept.data)), (100, Some(Account { balance: 99 })));
    let accounts = Repository::<Account>::new(store.clone()).with_snapshots(store.clone());
    append(&accounts, &[Happened::Moved(1)], id("b")).await;
    let plain = Repository::<Account>::new(store).load("a").await.unwrap();
    assert_eq!((plain.version, &plain.state), (101, &Some(Account { balance: 100 })));
    assert_eq!(accounts.load("a").await.unwrap().state, plain.state);
}
