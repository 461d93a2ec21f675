//! Commands: what the store is asked for them, and how they are answered when others are faster or when they come again.

use std::sync::{Arc, Mutex};

use meshwork_eventstore::testing::memory_store;
use meshwork_eventstore::{
    Append, AppendError, Appended, Beats, CommandId, Commit, EventStore, ExecuteError, Executed, Loaded, Repository,
    StoreError,
};
use time::OffsetDateTime;

use crate::account::{Account, Command, Refusal};
use crate::{AT, id};

/// So many microseconds later, as a command that comes again does.
fn later(micros: i64) -> OffsetDateTime {
    AT + time::Duration::microseconds(micros)
}

/// A store that notes what it is asked, and that can be put back to another copy.
struct Noting {
    store: Mutex<Arc<dyn EventStore>>,
    asked: Mutex<Vec<&'static str>>,
}

impl Noting {
    fn on(store: Arc<dyn EventStore>) -> Arc<Self> {
        Arc::new(Self { store: Mutex::new(store), asked: Mutex::default() })
    }

    /// What it was asked since the last look.
    fn asked(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    fn put_back(&self, copy: Arc<dyn EventStore>) {
        *self.store.lock().unwrap() = copy;
    }

    fn noted(&self, what: &'static str) -> Arc<dyn EventStore> {
        self.asked.lock().unwrap().push(what);
        self.store()
    }

    fn store(&self) -> Arc<dyn EventStore> {
        self.store.lock().unwrap().clone()
    }
}

#[async_trait::async_trait]
impl EventStore for Noting {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.noted("append").append(append).await
    }

    async fn find(&self, stream: &str, command_id: &str) -> Result<Option<Commit>, StoreError> {
        self.noted("find").find(stream, command_id).await
    }

    async fn read(&self, stream: &str, after: i64) -> Result<Vec<Commit>, StoreError> {
        self.noted("read").read(stream, after).await
    }

    async fn read_partition(&self, partition: u16, after: i64, limit: usize) -> Result<Vec<Commit>, StoreError> {
        self.store().read_partition(partition, after, limit).await
    }

    async fn head(&self, partition: u16) -> Result<i64, StoreError> {
        self.store().head(partition).await
    }

    fn partitions(&self) -> u16 {
        self.store().partitions()
    }

    fn beats(&self, partition: u16) -> Beats {
        self.store().beats(partition)
    }
}

/// Accounts in a store that notes what it is asked, and accounts in the same store as another process has them.
fn two() -> (Arc<Noting>, Repository<Account>, Repository<Account>) {
    let store: Arc<dyn EventStore> = Arc::new(memory_store(1));
    let noting = Noting::on(store.clone());
    (noting.clone(), Repository::new(noting), Repository::new(store))
}

fn balance(done: &Executed<Account>) -> (i64, i64) {
    (done.after.version, done.after.state.as_ref().unwrap().balance)
}

#[tokio::test]
async fn a_new_aggregate_and_one_that_is_remembered_cost_an_append_and_no_read() {
    let (store, accounts, _) = two();
    let opened = accounts.create("a", &Command::Open, id("open"), AT).await.unwrap();
    assert_eq!((balance(&opened), opened.replayed), ((1, 0), false));
    assert_eq!(store.asked(), ["append"]);
    for cents in 1..4 {
        let done = accounts.execute("a", &Command::Deposit(cents), id(cents), AT, None).await.unwrap();
        assert_eq!((done.after.version, done.replayed), (cents + 1, false));
        assert_eq!(store.asked(), ["append"]);
    }
    // Each answer is the aggregate as its stream makes it.
    let done = accounts.execute("a", &Command::Withdraw(6), id("take"), AT, Some(4)).await.unwrap();
    assert_eq!(store.asked(), ["append"]);
    let fresh = Repository::<Account>::new(store).load("a").await.unwrap();
    assert_eq!((done.after, fresh.version), (fresh, 5));
}

#[tokio::test]
async fn what_is_remembered_and_old_is_read_and_decided_anew() {
    let (store, accounts, others) = two();
    accounts.create("a", &Command::Open, id("open"), AT).await.unwrap();
    accounts.execute("a", &Command::Deposit(5), id("five"), AT, None).await.unwrap();
    others.execute("a", &Command::Deposit(10), id("ten"), AT, None).await.unwrap();
    store.asked();
    // By what is remembered it would be refused.
    let taken = accounts.execute("a", &Command::Withdraw(12), id("take"), AT, None).await.unwrap();
    assert_eq!(balance(&taken), (4, 3));
    assert_eq!(store.asked(), ["read", "append"]);
    others.execute("a", &Command::Withdraw(3), id("rest"), AT, None).await.unwrap();
    // By what is remembered it would be allowed.
    let short = accounts.execute("a", &Command::Withdraw(1), id("more"), AT, None).await;
    assert!(matches!(short, Err(ExecuteError::Refused(Refusal::Short))), "{short:?}");
    assert_eq!(store.asked(), ["append", "read", "find"]);
    others.execute("a", &Command::Deposit(1), id("one"), AT, None).await.unwrap();
    let added = accounts.execute("a", &Command::Deposit(1), id("another"), AT, None).await.unwrap();
    assert_eq!(balance(&added), (7, 2));
    assert_eq!(store.asked(), ["append", "read", "append"]);
}

#[tokio::test]
async fn of_a_store_that_was_put_back_to_an_older_copy_nothing_newer_is_remembered() {
    let (store, accounts, _) = two();
    accounts.create("a", &Command::Open, id("open"), AT).await.unwrap();
    accounts.execute("a", &Command::Deposit(5), id("five"), AT, None).await.unwrap();
    let copy: Arc<dyn EventStore> = Arc::new(memory_store(1));
    let restored = Repository::<Account>::new(copy.clone());
    restored.create("a", &Command::Open, id("open"), AT).await.unwrap();
    store.put_back(copy);
    let done = accounts.execute("a", &Command::Deposit(2), id("two"), AT, None).await.unwrap();
    assert_eq!(balance(&done), (2, 2));
    assert_eq!(restored.load("a").await.unwrap(), done.after);
}

#[tokio::test]
async fn es_2_a_creation_that_comes_again_is_answered_as_it_was_then() {
    let (store, accounts, others) = two();
    let opened = accounts.create("a", &Command::Open, id("open"), AT).await.unwrap();
    accounts.execute("a", &Command::Deposit(5), id("five"), AT, None).await.unwrap();
    store.asked();
    for accounts in [&accounts, &others] {
        let again = accounts.create("a", &Command::Open, id("open"), later(1)).await.unwrap();
        assert_eq!(again, Executed { replayed: true, ..opened.clone() });
    }
    assert_eq!(store.asked(), ["append", "read"]);
    let other = CommandId { hash: [2; 32], ..id("open") };
    let reused = accounts.create("a", &Command::Open, other, later(2)).await;
    assert!(matches!(reused, Err(ExecuteError::CommandReused)), "{reused:?}");
    // Another command: the account that is there refuses it, as one that isn't there refuses what can't begin it.
    for (stream, command) in [("a", Command::Open), ("b", Command::Deposit(1))] {
        let refused = accounts.create(stream, &command, id("once more"), AT).await;
        assert!(matches!(refused, Err(ExecuteError::Refused(Refusal::WrongState))), "{refused:?}");
    }
    assert_eq!(others.load("a").await.unwrap().version, 2);
    assert_eq!(others.load("b").await.unwrap(), Loaded::default());
}

#[tokio::test]
async fn an_aggregate_at_another_version_than_was_asked_for_is_not_changed() {
    let (store, accounts, others) = two();
    accounts.create("a", &Command::Open, id("open"), AT).await.unwrap();
    accounts.execute("a", &Command::Deposit(5), id("five"), AT, Some(1)).await.unwrap();
    others.execute("a", &Command::Deposit(1), id("one"), AT, None).await.unwrap();
    store.asked();
    // The remembered version, one of long ago, and one that is still to come.
    for expected in [2, 1, 4] {
        let refused = accounts.execute("a", &Command::Withdraw(1), id("take"), AT, Some(expected)).await;
        assert!(matches!(refused, Err(ExecuteError::VersionMismatch { actual: 3 })), "{expected}: {refused:?}");
    }
    assert_eq!(others.load("a").await.unwrap().version, 3);
    // A command that has been carried out is answered, whatever its version has become.
    let again = accounts.execute("a", &Command::Deposit(5), id("five"), AT, Some(1)).await.unwrap();
    assert_eq!((balance(&again), again.replayed), ((2, 5), true));
    // One that names the current version is carried out, also where that isn't remembered yet.
    others.execute("a", &Command::Deposit(1), id("another"), AT, None).await.unwrap();
    store.asked();
    let taken = accounts.execute("a", &Command::Withdraw(1), id("take"), AT, Some(4)).await.unwrap();
    assert_eq!((balance(&taken), taken.replayed), ((5, 6), false));
    assert_eq!(store.asked(), ["read", "append"]);
}

#[tokio::test]
async fn of_one_command_many_times_at_once_one_makes_it_and_all_get_its_answer() {
    let (_, accounts, others) = two();
    let ask = |at: i64, opens: bool| {
        let accounts = if at % 2 == 0 { accounts.clone() } else { others.clone() };
        tokio::spawn(async move {
            if opens {
                accounts.create("a", &Command::Open, id("open"), later(at)).await
            } else {
                accounts.execute("a", &Command::Withdraw(5), id("take"), later(at), Some(2)).await
            }
        })
    };
    for opens in [true, false] {
        let (mut answers, mut made) = (Vec::new(), 0);
        for asked in (0..8).map(|at| ask(at, opens)).collect::<Vec<_>>() {
            let answer = asked.await.unwrap().unwrap();
            made += usize::from(!answer.replayed);
            answers.push((answer.after, answer.position));
        }
        assert_eq!(made, 1);
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        if opens {
            accounts.execute("a", &Command::Deposit(5), id("five"), AT, None).await.unwrap();
        }
    }
    assert_eq!(others.load("a").await.unwrap(), Loaded { state: Some(Account { balance: 0 }), version: 3 });
}
