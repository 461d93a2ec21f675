//! The aggregate of the example: cases on every store, snapshots, schemas.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../examples/account/account.rs"]
mod account;
#[path = "aggregate/commands.rs"]
mod commands;
#[path = "aggregate/killed.rs"]
mod killed;

use std::path::Path;
use std::sync::Arc;

use account::{Account, Command, Happened, Refusal};
use bytes::Bytes;
use meshwork_eventstore::testing::{Case, Corpus, memory_store};
use meshwork_eventstore::{
    Append, AppendError, Appended, Beats, CommandId, Commit, Context, EventStore, Expected, Loaded, Repository,
    Snapshot, SnapshotState, SnapshotStore, SqliteEventStore, StoreError, fold,
};
use proptest::prelude::*;
use tempfile::TempDir;
use time::OffsetDateTime;

const AT: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn id(id: impl ToString) -> CommandId {
    CommandId { id: id.to_string(), hash: [1; 32] }
}

/// Appends to the account as it is.
async fn append(accounts: &Repository<Account>, events: &[Happened], id: CommandId) -> Appended {
    let before = accounts.load("a").await.unwrap();
    accounts.append("a", &before, events, id, AT).await.unwrap()
}

async fn sqlite() -> (Arc<SqliteEventStore>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Arc::new(SqliteEventStore::open(&folder.path().join("events.db"), 4).await.unwrap()), folder)
}

fn cases() -> Vec<Case<Account>> {
    vec![
        Case::given([]).when(Command::Open).then([Happened::Opened]),
        Case::given([]).when(Command::Deposit(1)).then_refused(Refusal::WrongState),
        Case::given([Happened::Opened]).when(Command::Open).then_refused(Refusal::WrongState),
        Case::given([Happened::Opened, Happened::Moved(5)]).when(Command::Withdraw(5)).then([Happened::Moved(-5)]),
        Case::given([Happened::Opened, Happened::Moved(5)]).when(Command::Withdraw(6)).then_refused(Refusal::Short),
    ]
}

#[tokio::test]
async fn es_8_the_same_cases_run_in_memory_and_on_each_store() {
    for case in cases() {
        case.in_memory().await;
    }
    let (store, _folder) = sqlite().await;
    for (at, case) in cases().into_iter().enumerate() {
        case.on(store.clone(), &format!("accounts/{at}")).await;
    }
    #[cfg(feature = "mongodb")]
    {
        use meshwork_eventstore::mongodb::{MongoOptions, MongoServer};
        let mongo = meshwork_testkit::Mongo::start();
        let options = MongoOptions { database: mongo.database(), ..MongoOptions::new(mongo.uri()) };
        let store = Arc::new(MongoServer::open(&options).await.unwrap());
        mongo.index(&options.database);
        for (at, case) in cases().into_iter().enumerate() {
            case.on(store.clone(), &format!("accounts/{at}")).await;
        }
    }
}

#[tokio::test]
#[should_panic(expected = "what follows")]
async fn es_8_a_case_that_does_not_hold_fails() {
    Case::<Account>::given([]).when(Command::Open).then([Happened::Moved(1)]).in_memory().await;
}

#[tokio::test]
async fn es_2_a_command_that_comes_again_is_answered_as_it_was_then() {
    let accounts = Repository::<Account>::new(Arc::new(memory_store(1)));
    for (name, command) in [("open", Command::Open), ("deposit", Command::Deposit(5)), ("take", Command::Withdraw(5))] {
        accounts.execute("a", &command, id(name), AT, None).await.unwrap();
    }
    // Not allowed any more, and it was: the answer is the one of then.
    let again = accounts.execute("a", &Command::Withdraw(5), id("take"), AT, None).await.unwrap();
    assert!(again.replayed);
    let again = accounts.execute("a", &Command::Deposit(5), id("deposit"), AT, None).await.unwrap();
    assert_eq!((again.after.state, again.after.version, again.replayed), (Some(Account { balance: 5 }), 2, true));
    // The same id for something else.
    let other = CommandId { hash: [2; 32], ..id("deposit") };
    let refused = accounts.execute("a", &Command::Deposit(7), other, AT, None).await;
    assert!(matches!(refused, Err(meshwork_eventstore::ExecuteError::CommandReused)), "{refused:?}");
    assert_eq!(accounts.load("a").await.unwrap().version, 3);
}

#[tokio::test]
async fn a_command_s_commit_tells_why_it_was_made() {
    let (store, _folder) = sqlite().await;
    let accounts = Repository::<Account>::new(store.clone());
    let context = Context { actor: "users/anna".to_owned(), ..Context::default() };
    context.clone().scope(accounts.execute("a", &Command::Open, id("open"), AT, None)).await.unwrap();
    accounts.execute("a", &Command::Deposit(5), id("deposit"), AT, None).await.unwrap();
    let contexts = store.read("a", 0).await.unwrap().into_iter().map(|commit| commit.context);
    assert_eq!(contexts.collect::<Vec<_>>(), [context, Context::default()]);
}

#[tokio::test]
async fn what_others_change_meanwhile_is_decided_anew() {
    let accounts = Repository::<Account>::new(Arc::new(memory_store(1)));
    accounts.execute("a", &Command::Open, id("open"), AT, None).await.unwrap();
    accounts.execute("a", &Command::Deposit(3), id("deposit"), AT, None).await.unwrap();
    let takers = (0..8).map(|taker| {
        let accounts = accounts.clone();
        tokio::spawn(async move { accounts.execute("a", &Command::Withdraw(1), id(taker), AT, None).await })
    });
    let mut taken = 0;
    for taker in takers.collect::<Vec<_>>() {
        match taker.await.unwrap() {
            Ok(_) => taken += 1,
            Err(meshwork_eventstore::ExecuteError::Refused(Refusal::Short)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(taken, 3);
    assert_eq!(accounts.load("a").await.unwrap().state, Some(Account { balance: 0 }));
}

#[tokio::test]
async fn the_past_is_told_by_version_and_by_time() {
    let accounts = Repository::<Account>::new(Arc::new(memory_store(1)));
    let second = |seconds| AT + time::Duration::seconds(seconds);
    accounts.execute("a", &Command::Open, id(0), second(10), None).await.unwrap();
    accounts.execute("a", &Command::Deposit(3), id(1), second(20), None).await.unwrap();
    accounts.execute("a", &Command::Deposit(4), id(2), second(30), None).await.unwrap();
    let state = |loaded: meshwork_eventstore::Loaded<Account>| (loaded.version, loaded.state.map(|it| it.balance));
    assert_eq!(state(accounts.load_at("a", 2).await.unwrap()), (2, Some(3)));
    assert_eq!(state(accounts.load_at("a", 9).await.unwrap()), (3, Some(7)));
    assert_eq!(state(accounts.load_at_time("a", second(9)).await.unwrap()), (0, None));
    assert_eq!(state(accounts.load_at_time("a", second(20)).await.unwrap()), (2, Some(3)));
    assert_eq!(state(accounts.load_at_time("a", second(99)).await.unwrap()), (3, Some(7)));
}

/// Waits for the snapshot that a load keeps while its caller goes on.
async fn kept(store: &dyn SnapshotStore, stream: &str, version: i64) -> Snapshot {
    let seen = async {
        loop {
            match store.latest(stream, Account::SCHEMA).await.unwrap() {
                Some(snapshot) if snapshot.version == version => return snapshot,
                _ => tokio::time::sleep(std::time::Duration::from_millis(2)).await,
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), seen).await.expect("a snapshot")
}

#[tokio::test]
async fn es_4_a_snapshot_is_kept_and_used_and_one_of_another_shape_is_not() {
    let (store, _folder) = sqlite().await;
    let accounts = Repository::<Account>::new(store.clone()).with_snapshots(store.clone());
    let moves: Vec<_> = std::iter::once(Happened::Opened).chain((1..150).map(|_| Happened::Moved(1))).collect();
    append(&accounts, &moves, id("a")).await;
    assert_eq!(accounts.load("a").await.unwrap().state, Some(Account { balance: 149 }));
    let snapshot = kept(store.as_ref(), "a", 150).await;
    assert_eq!(Account::decode(&snapshot.data), Some(Account { balance: 149 }));
    // It is used: a planted one with another balance shows through.
    let planted = Snapshot { version: 151, data: 1_000_i64.to_be_bytes().to_vec().into(), ..snapshot.clone() };
    append(&accounts, &[Happened::Moved(1)], id("b")).await;
    store.save(planted.clone()).await.unwrap();
    // By a process that remembers nothing of it.
    let accounts = Repository::<Account>::new(store.clone()).with_snapshots(store.clone());
    assert_eq!(accounts.load("a").await.unwrap().state, Some(Account { balance: 1_000 }));
    // One of another shape isn't looked at, nor one that can't be read.
    let (other, _folder) = sqlite().await;
    let accounts = || Repository::<Account>::new(other.clone()).with_snapshots(other.clone());
    append(&accounts(), &[Happened::Opened], id("a")).await;
    other.save(Snapshot { schema: "account/0".to_owned(), version: 1, ..planted.clone() }).await.unwrap();
    assert_eq!(accounts().load("a").await.unwrap().state, Some(Account::default()));
    other.save(Snapshot { version: 1, data: Bytes::from_static(b"short"), ..planted }).await.unwrap();
    assert_eq!(accounts().load("a").await.unwrap().state, Some(Account::default()));
}

proptest! {
    /// Histories of commits of any size, with snapshots at any of their ends.
    #[test]
    fn es_4_without_its_snapshots_every_answer_is_the_same(
        commits in prop::collection::vec(prop::collection::vec(-5_i64..5, 1..6), 1..12),
        snapshots in prop::collection::vec(0_usize..12, 0..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store: Arc<dyn EventStore> = Arc::new(memory_store(1));
            let kept = Arc::new(Kept::default());
            let plain = Repository::<Account>::new(store.clone());
            for (at, cents) in commits.iter().enumerate() {
                let mut events: Vec<_> = cents.iter().map(|cents| Happened::Moved(*cents)).collect();
                if at == 0 {
                    events.insert(0, Happened::Opened);
                }
                let version = append(&plain, &events, id(at)).await.commit.version();
                if snapshots.contains(&at) {
                    let state = plain.load("a").await.unwrap().state.unwrap();
                    let data = SnapshotState::encode(&state).unwrap().into();
                    let schema = Account::SCHEMA.to_owned();
                    kept.save(Snapshot { stream: "a".to_owned(), version, schema, data }).await.unwrap();
                }
            }
            let with = Repository::<Account>::new(store).with_snapshots(kept);
            let history = plain.history("a", 0).await.unwrap();
            let folded = fold(None, "a", &history);
            assert_eq!(with.load("a").await.unwrap(), plain.load("a").await.unwrap());
            assert_eq!(with.load("a").await.unwrap().state, folded);
        });
    }
}

/// A store that notes from where its streams are read.
struct Noting(Arc<dyn EventStore>, std::sync::Mutex<Vec<i64>>);

#[async_trait::async_trait]
impl EventStore for Noting {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.0.append(append).await
    }

    async fn find(&self, stream: &str, command_id: &str) -> Result<Option<Commit>, StoreError> {
        self.0.find(stream, command_id).await
    }

    async fn read(&self, stream: &str, after: i64) -> Result<Vec<Commit>, StoreError> {
        self.1.lock().unwrap().push(after);
        self.0.read(stream, after).await
    }

    async fn read_partition(&self, partition: u16, after: i64, limit: usize) -> Result<Vec<Commit>, StoreError> {
        self.0.read_partition(partition, after, limit).await
    }

    async fn head(&self, partition: u16) -> Result<i64, StoreError> {
        self.0.head(partition).await
    }

    fn partitions(&self) -> u16 {
        self.0.partitions()
    }

    fn beats(&self, partition: u16) -> Beats {
        self.0.beats(partition)
    }
}

#[tokio::test]
async fn of_an_aggregate_that_is_remembered_only_what_is_new_is_read_and_all_of_that() {
    let (sqlite, _folder) = sqlite().await;
    let store = Arc::new(Noting(sqlite.clone(), std::sync::Mutex::default()));
    let accounts = Repository::<Account>::new(store.clone());
    let another = Repository::<Account>::new(sqlite);
    append(&another, &[Happened::Opened, Happened::Moved(5)], id("a")).await;
    for version in 2..5 {
        let balance = 3 + version;
        assert_eq!(accounts.load("a").await.unwrap(), Loaded { state: Some(Account { balance }), version });
        append(&another, &[Happened::Moved(1)], id(version)).await;
    }
    assert_eq!(*store.1.lock().unwrap(), [0, 2, 3]);
    // A stream without events is looked for each time.
    for _ in 0..2 {
        assert_eq!(accounts.load("b").await.unwrap(), Loaded::default());
    }
    assert_eq!(store.1.lock().unwrap()[3..], [0, 0]);
}

#[tokio::test]
async fn mg_10_of_500_events_a_load_reads_at_most_the_last_100() {
    let (sqlite, _folder) = sqlite().await;
    let store = Arc::new(Noting(sqlite.clone(), std::sync::Mutex::default()));
    let accounts = Repository::<Account>::new(store.clone()).with_snapshots(sqlite.clone());
    let mut version = 0;
    for commit in 0..50 {
        let moves: Vec<_> =
            (0..10).map(|at| if commit + at == 0 { Happened::Opened } else { Happened::Moved(1) }).collect();
        version = append(&accounts, &moves, id(commit)).await.commit.version();
        accounts.load("a").await.unwrap();
        if version % 100 == 0 {
            kept(sqlite.as_ref(), "a", version).await;
        }
    }
    assert_eq!(version, 500);
    let accounts = Repository::<Account>::new(store.clone()).with_snapshots(sqlite.clone());
    assert_eq!(accounts.load("a").await.unwrap().state, Some(Account { balance: 499 }));
    let from = *store.1.lock().unwrap().last().unwrap();
    assert!(from >= 400, "it was read from version {from}");
}

/// Snapshots in memory.
#[derive(Default)]
struct Kept(std::sync::Mutex<Vec<Snapshot>>);

#[async_trait::async_trait]
impl SnapshotStore for Kept {
    async fn save(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        self.0.lock().unwrap().push(snapshot);
        Ok(())
    }

    async fn latest(&self, stream: &str, schema: &str) -> Result<Option<Snapshot>, StoreError> {
        let kept = self.0.lock().unwrap();
        let of_stream = kept.iter().filter(|kept| kept.stream == stream && kept.schema == schema);
        Ok(of_stream.max_by_key(|kept| kept.version).cloned())
    }
}

fn corpus() -> Corpus {
    Corpus::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"))
}

#[tokio::test]
async fn es_5_events_of_every_schema_are_read_and_their_fold_stays() {
    let read = corpus().read::<Happened>();
    let expected = [
        ("account_opened", 1, Happened::Opened),
        ("balance_moved", 1, Happened::Moved(4_200)),
        ("balance_moved", 2, Happened::Moved(4_242)),
    ];
    assert_eq!(read, expected);
    // As they stand in a stream: the old schema beside the new one.
    let store = Arc::new(memory_store(1));
    let mut version = 0;
    for (event_type, schema_version, _) in expected {
        let data = corpus().sample(event_type, schema_version);
        let mut append = meshwork_eventstore::testing::command("a", Expected::Exact(version), event_type, 1);
        append.command_id = format!("{event_type}/{schema_version}");
        append.events = vec![meshwork_eventstore::NewEvent { event_type, schema_version, data }];
        version = store.append(append).await.unwrap().commit.version();
    }
    let loaded = Repository::<Account>::new(store).load("a").await.unwrap();
    assert_eq!(loaded.state, Some(Account { balance: 8_442 }));
}

#[tokio::test]
async fn an_event_that_can_not_be_understood_is_an_error_of_its_stream() {
    let store = Arc::new(memory_store(1));
    let accounts = Repository::<Account>::new(store.clone());
    accounts.execute("sound", &Command::Open, id("a"), AT, None).await.unwrap();
    for (stream, event_type, schema_version, data) in [
        ("unknown", "account_painted", 1, &b""[..]),
        ("newer", "balance_moved", 3, b""),
        ("cut", "balance_moved", 2, b"\x10"),
    ] {
        let mut append = meshwork_eventstore::testing::command(stream, Expected::NoStream, "a", 1);
        append.events[0].event_type = event_type;
        append.events[0].schema_version = schema_version;
        append.events[0].data = Bytes::from_static(data);
        store.append(append).await.unwrap();
        match accounts.load(stream).await {
            Err(StoreError::Damaged { place, problem }) => {
                assert_eq!(place, stream);
                assert!(problem.contains(event_type), "{problem}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(accounts.load("sound").await.unwrap().version, 1);
}
