//! Callers that write, and what must be in the databases afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use meshwork_sql::Error;
use meshwork_sql::shards::{ShardId, Shards, slot_of};
use sqlx::Row as _;
use tokio::task::JoinHandle;

use crate::tables::ACCOUNTS;
use crate::worlds::World;

/// The keys of the tests.
pub(crate) fn keys() -> Vec<String> {
    (0..30).map(|n| format!("key-{n:02}")).collect()
}

/// What one caller knows of an account that nobody else writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    version: i64,
    is_there: bool,
    sessions: BTreeSet<String>,
}

/// One write.
#[derive(Clone, Debug)]
enum Change {
    Create,
    Touch,
    Open { session: String },
    Close { session: String },
    Remove,
}

#[derive(Clone, Debug)]
struct Write {
    account: String,
    version: i64,
    change: Change,
}

/// Writes where the account lives.
async fn write(shards: &Shards<()>, write: Write) -> Result<(), Error> {
    let account = write.account.clone();
    shards
        .route(ACCOUNTS, &account, move |shard, place| {
            let write = write.clone();
            Box::pin(async move {
                shard
                    .db
                    .write_at(&[place], write, |connection, write| {
                        Box::pin(async move { apply(connection, write).await })
                    })
                    .await
            })
        })
        .await
}

async fn apply(connection: &mut sqlx::PgConnection, write: &Write) -> Result<(), Error> {
    let Write { account, version, change } = write;
    let slot = i32::from(slot_of(account));
    // The version before must be there: a lost one, or one of another owner, is seen at once.
    let touch = sqlx::query("UPDATE accounts SET version = $2 WHERE id = $1 AND version = $2 - 1");
    let done = match change {
        Change::Create => {
            let insert = sqlx::query("INSERT INTO accounts (id, slot, version, name) VALUES ($1, $3, $2, $1)");
            insert.bind(account).bind(version).bind(slot).execute(&mut *connection).await?
        }
        Change::Remove => {
            let delete = sqlx::query("DELETE FROM accounts WHERE id = $1 AND version = $2 - 1");
            delete.bind(account).bind(version).execute(&mut *connection).await?
        }
        Change::Touch | Change::Open { .. } | Change::Close { .. } => {
            touch.bind(account).bind(version).execute(&mut *connection).await?
        }
    };
    if done.rows_affected() != 1 {
        return Err(sqlx::Error::RowNotFound.into());
    }
    if let Change::Open { session } = change {
        let insert = sqlx::query("INSERT INTO sessions (id, account, slot) VALUES ($1, $2, $3)");
        insert.bind(session).bind(account).bind(slot).execute(&mut *connection).await?;
        for n in 0..3_i32 {
            let insert = sqlx::query("INSERT INTO notes (session, n, body, score) VALUES ($1, $2, $3, 0.1)");
            insert.bind(session).bind(n).bind(vec![0_u8, 255, 39]).execute(&mut *connection).await?;
        }
    }
    if let Change::Close { session } = change {
        sqlx::query("DELETE FROM sessions WHERE id = $1").bind(session).execute(&mut *connection).await?;
    }
    let event = sqlx::query("INSERT INTO events (account, version, slot, data) VALUES ($1, $2, $3, $4)");
    event.bind(account).bind(version).bind(slot).bind(vec![1_u8, 0, 2]).execute(&mut *connection).await?;
    let taken = sqlx::query("INSERT INTO taken (account, version) VALUES ($1, $2)");
    taken.bind(account).bind(version).execute(&mut *connection).await?;
    Ok(())
}

/// What a caller does next with an account.
fn next(account: &Account, random: &mut fastrand::Rng) -> Change {
    if !account.is_there {
        return Change::Create;
    }
    match (random.u8(0..20), account.sessions.first()) {
        (0, _) => Change::Remove,
        (1..6, Some(session)) => Change::Close { session: session.clone() },
        (6..14, _) => Change::Open { session: format!("{:016x}", random.u64(..)) },
        _ => Change::Touch,
    }
}

fn note(account: &mut Account, change: &Change) {
    account.version += 1;
    match change {
        Change::Create => account.is_there = true,
        Change::Touch => {}
        Change::Open { session } => _ = account.sessions.insert(session.clone()),
        Change::Close { session } => _ = account.sessions.remove(session),
        Change::Remove => {
            account.is_there = false;
            account.sessions.clear();
        }
    }
}

/// Callers under way.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<(String, Account)>>,
}

/// What the accounts must be.
pub(crate) type Accounts = BTreeMap<String, Account>;

impl Load {
    /// One caller for each account.
    pub(crate) fn start(world: &World, accounts: &Accounts) -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tasks = accounts.iter().map(|(key, account)| {
            let (stop, written, shards) = (stop.clone(), written.clone(), world.shards.clone());
            let (key, mut account) = (key.clone(), account.clone());
            tokio::spawn(async move {
                let mut random = fastrand::Rng::new();
                while !stop.load(Ordering::SeqCst) {
                    step(&shards, &key, &mut account, &mut random).await;
                    written.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(random.u64(20..200))).await;
                }
                (key, account)
            })
        });
        Self { tasks: tasks.collect(), stop, written }
    }

    /// How many writes were answered so far.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    /// Ends them. No write may have failed: each waits for what moves, within its bound.
    pub(crate) async fn stop(self) -> Accounts {
        self.stop.store(true, Ordering::SeqCst);
        let mut accounts = Accounts::new();
        for task in self.tasks {
            let (key, account) = task.await.unwrap();
            accounts.insert(key, account);
        }
        accounts
    }
}

async fn step(shards: &Shards<()>, key: &str, account: &mut Account, random: &mut fastrand::Rng) {
    let change = next(account, random);
    let asked = Write { account: key.to_owned(), version: account.version + 1, change: change.clone() };
    if let Err(error) = write(shards, asked).await {
        panic!("{change:?} of {key} was not answered: {error}");
    }
    note(account, &change);
}

/// Fills the accounts, `steps` writes each.
pub(crate) async fn fill(world: &World, steps: usize) -> Accounts {
    let mut accounts = Accounts::new();
    let mut random = fastrand::Rng::with_seed(7);
    for key in keys() {
        let mut account = Account::default();
        for _ in 0..steps {
            step(&world.shards, &key, &mut account, &mut random).await;
        }
        accounts.insert(key, account);
    }
    accounts
}

/// Writes each account once.
pub(crate) async fn touch(world: &World, accounts: &mut Accounts) {
    let mut random = fastrand::Rng::new();
    for (key, account) in accounts {
        step(&world.shards, key, account, &mut random).await;
    }
}

/// Whether the databases hold exactly what was answered, each account at its owner alone.
pub(crate) async fn check(world: &World, accounts: &Accounts) {
    world.shards.refresh().await.unwrap();
    let map = world.shards.map();
    let (mut found, mut taken) = (Accounts::new(), BTreeMap::<String, Vec<i64>>::new());
    let mut events = BTreeMap::<(ShardId, String), BTreeSet<i64>>::new();
    for shard in world.shards.shards() {
        let read = async |sql: &'static str| sqlx::query(sql).fetch_all(shard.db.reader()).await.unwrap();
        for row in read("SELECT id, version FROM accounts").await {
            let id: String = row.get(0);
            assert_eq!(map.locate(ACCOUNTS, &id).unwrap().shard, shard.id, "{id} lies at another than its owner");
            let account = Account { version: row.get(1), is_there: true, sessions: BTreeSet::new() };
            assert_eq!(found.insert(id.clone(), account), None, "{id} is there twice");
        }
        for row in read("SELECT account, id FROM sessions").await {
            found.get_mut(&row.get::<String, _>(0)).unwrap().sessions.insert(row.get(1));
        }
        let notes = "SELECT count(*) FROM notes WHERE body = '\\x00ff27' AND score = 0.1";
        let sessions = "SELECT count(*) * 3 FROM sessions";
        let count = async |sql: &'static str| read(sql).await[0].get::<i64, _>(0);
        assert_eq!(count(notes).await, count(sessions).await, "each session has three notes");
        assert_eq!(count("SELECT count(*) FROM notes").await, count(sessions).await);
        for row in read("SELECT account, version FROM taken").await {
            taken.entry(row.get(0)).or_default().push(row.get(1));
        }
        for row in read("SELECT account, version FROM events UNION SELECT account, version FROM events_history").await {
            events.entry((shard.id, row.get(0))).or_default().insert(row.get(1));
        }
        assert_eq!(count("SELECT count(*) FROM shard_foreign").await, 0, "shard {} hides rows for ever", shard.id);
        assert_eq!(count("SELECT count(*) FROM shard_log").await, 0, "shard {} logs for ever", shard.id);
        let triggers = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'shard_log_%'";
        assert_eq!(count(triggers).await, 0, "shard {} keeps its triggers", shard.id);
    }
    for (key, account) in accounts {
        let versions: Vec<i64> = (1..=account.version).collect();
        let mut took = taken.remove(key).unwrap_or_default();
        took.sort_unstable();
        assert_eq!(took, versions, "each write of {key} was taken by one database");
        let owner = map.locate(ACCOUNTS, key).unwrap().shard;
        let known = events.remove(&(owner, key.clone())).unwrap_or_default();
        assert_eq!(known.into_iter().collect::<Vec<_>>(), versions, "all events of {key} are at its owner");
        let expected = account.is_there.then(|| account.clone());
        assert_eq!(found.remove(key), expected, "{key}");
    }
    assert!(found.is_empty(), "{found:?} came from nowhere");
}
