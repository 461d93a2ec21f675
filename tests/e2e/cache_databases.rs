//! What lies beneath the caches stands still, or moves, while they are read.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use meshwork_api::meshwork::admin::v1::cache_stats::Link;
use meshwork_api::meshwork::users::v1::GetUserRequest;
use meshwork_api::meshwork::users::v1::user_service_client::UserServiceClient;
use meshwork_sql::shards::slot_of;
use meshwork_testkit::up::{command, text, with};
use meshwork_testkit::{Gateway, Postgres, Redis};
use serde_json::Value;
use tokio::task::JoinSet;
use tonic::Status;

use crate::instances::{Instances, Thing, Watch};
use crate::shards::{Database, spread};
use crate::shop::eventually;

/// Settings under which an answer is soon past its time.
const SHORT: [(&str, &str); 2] = [("MESHWORK_USERS__CACHE__TTL", "1s"), ("MESHWORK_PRODUCTS__CACHE__TTL", "1s")];
/// How long a database stands still, and within what time each call is answered meanwhile.
const STILL: Duration = Duration::from_secs(5);
const PROMPT: Duration = Duration::from_secs(3);
/// How long a reader rests between two calls.
const REST: Duration = Duration::from_millis(20);
/// The round that is written once the database goes on.
const NEXT: u32 = 1;
/// How many accounts outside the shard that stands still are read at least.
const ACCOUNTS: usize = 4;
/// How many callers at each process want what nobody has: more than there are places for loads.
const CROWD: usize = 24;
/// Within what time Redis is used again once it is back.
const RESUMED: Duration = Duration::from_secs(10);
/// How long everything is read in each phase.
const PHASE: Duration = Duration::from_secs(1);

/// Readers that go on until they are stopped. No call may fail, and each is answered in time.
#[derive(Default)]
struct Readers {
    stop: Arc<AtomicBool>,
    all: JoinSet<u64>,
}

impl Readers {
    /// Adds one.
    fn add<R>(&mut self, what: String, read: impl Fn() -> R + Send + 'static)
    where
        R: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.all.spawn(async move {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let reading = read();
                reading.await.unwrap_or_else(|status| panic!("{what} can't be read: {status}"));
                let took = begun.elapsed();
                assert!(took < PROMPT, "{what} is answered after {took:?}");
                count += 1;
                tokio::time::sleep(REST).await;
            }
            count
        });
    }

    /// Ends them; how often the one was answered that was answered least.
    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.all.join_all().await.into_iter().min().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ca_8_while_the_database_stands_still_what_is_cached_is_answered_though_its_time_is_over() {
    let redis = Redis::private(&[]);
    let instances = Instances::start_on(Postgres::private(), Some(&redis), &[], &SHORT).await;
    instances.linked().await;
    let caller = &instances.caller;
    let mut readers = Readers::default();
    for thing in Thing::ALL {
        for at in [0, 1] {
            caller.read(thing, at, None).await.unwrap();
            let caller = caller.clone();
            readers.add(format!("{thing:?} at {at}"), move || {
                let caller = caller.clone();
                async move { caller.read(thing, at, None).await.map(drop) }
            });
        }
    }
    tokio::task::block_in_place(|| instances.postgres.freeze());
    tokio::time::sleep(STILL).await;
    instances.postgres.thaw();
    for thing in Thing::ALL {
        // Connections that were given up are made anew.
        eventually("a write", async || caller.write(thing, 0, NEXT).await.is_ok()).await;
        caller.shows(thing, 1, NEXT).await;
    }
    let least = readers.stop().await;
    assert!(least >= 3, "something was answered {least} times");
}

/// Writes settings that spread accounts over these databases to a file in a folder; its path.
fn settings(folder: &Path, databases: &[Database]) -> String {
    let file = folder.join("shards.toml");
    std::fs::write(&file, spread(databases)).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Starts the processes by such a file, with products on `postgres`; all are linked to Redis.
async fn start(postgres: Postgres, redis: &Redis, file: &str) -> Instances {
    // Accounts lie in the databases of the file, not in one.
    let more = [("MESHWORK_CONFIG", file), ("MESHWORK_USERS__POSTGRES__URL", "")];
    let instances = Instances::start_on(postgres, Some(redis), &[], &more).await;
    instances.linked().await;
    instances
}

/// Whether an account lies in a database, by the names of both.
fn lies_in(postgres: &Postgres, database: &Database, id: &str) -> bool {
    let name = database.url.rsplit('/').next().unwrap();
    postgres.sql(name, &format!("SELECT count(*) FROM users.users WHERE id = '{id}'")) == "1"
}

/// Makes accounts until some lie in the shard that is `away`, and enough elsewhere; the names of those there, and of those away.
async fn accounts(instances: &Instances, is_away: impl Fn(&str) -> bool) -> (Vec<String>, Vec<String>) {
    let address = instances.processes.address("users").parse().unwrap();
    let shop = Gateway::new(address, &instances.processes.data());
    let (mut there, mut away) = (Vec::new(), Vec::new());
    let mut number = 0;
    while there.len() < ACCOUNTS || away.is_empty() {
        let id = format!("spread-{number}");
        let name = shop.sign_up(&id).await;
        if is_away(&id) {
            away.push(name);
        } else {
            there.push(name);
        }
        number += 1;
    }
    (there, away)
}

/// Callers who ask for what nobody has, each for something else each time, until they are dropped: whatever they are answered.
fn crowd(instances: &Instances) -> JoinSet<()> {
    let mut crowd = JoinSet::new();
    for label in Thing::User.labels() {
        let users = UserServiceClient::new(instances.processes.channel(label));
        for caller in 0..CROWD {
            let (mut users, staff) = (users.clone(), instances.staff.clone());
            crowd.spawn(async move {
                for number in 0_u64.. {
                    let name = format!("users/nobody-{label}-{caller}-{number}");
                    users.get_user(with(&staff, GetUserRequest { name })).await.ok();
                    tokio::time::sleep(2 * REST).await;
                }
            });
        }
    }
    crowd
}

/// Waits until the link of both processes of users to Redis is so.
async fn linked(instances: &Instances, link: Link) {
    for label in Thing::User.labels() {
        let is_so = async || instances.stats(label).await.link() == link;
        eventually(&format!("the link of {label} to be {link:?}"), is_so).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ca_8_a_shard_that_stands_still_holds_up_no_account_elsewhere_and_keeps_redis_off_for_nobody() {
    let (here, away, redis) = (Postgres::start(), Postgres::private(), Redis::private(&[]));
    let mut databases = Database::all(&here, &["north", "east"]);
    databases.extend(Database::all(&away, &["south"]));
    let folder = tempfile::tempdir().unwrap();
    let instances = start(here, &redis, &settings(folder.path(), &databases)).await;
    let (there, lost) = accounts(&instances, |id| lies_in(&away, &databases[2], id)).await;
    let clients = Thing::User.labels().map(|label| UserServiceClient::new(instances.processes.channel(label)));

    let mut readers = Readers::default();
    for (users, label) in clients.iter().zip(Thing::User.labels()) {
        for name in &there {
            let (users, staff, name) = (users.clone(), instances.staff.clone(), name.clone());
            readers.add(format!("{name} at {label}"), move || {
                let (mut users, request) = (users.clone(), with(&staff, GetUserRequest { name: name.clone() }));
                async move { users.get_user(request).await.map(drop) }
            });
        }
    }
    tokio::task::block_in_place(|| away.freeze());
    let crowd = crowd(&instances);
    tokio::time::sleep(PHASE).await;
    // What was cached is dropped, and is read from the databases.
    redis.kill();
    linked(&instances, Link::Down).await;
    tokio::time::sleep(PHASE).await;
    redis.start_again();
    let begun = Instant::now();
    linked(&instances, Link::Up).await;
    assert!(begun.elapsed() < RESUMED, "Redis is used again after {:?}", begun.elapsed());
    tokio::time::sleep(PHASE).await;
    drop(crowd);
    let least = readers.stop().await;
    assert!(least >= 10, "an account was answered {least} times");

    away.thaw();
    for users in &clients {
        let is_back = async || {
            let request = with(&instances.staff, GetUserRequest { name: lost[0].clone() });
            users.clone().get_user(request).await.is_ok()
        };
        eventually("the account in the shard that goes on", is_back).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sh_slots_move_under_cached_reads_and_no_answer_is_stale() {
    let (here, other, redis) = (Postgres::start(), Postgres::private(), Redis::private(&[]));
    let mut databases = Database::all(&here, &["north"]);
    databases.extend(Database::all(&other, &["south"]));
    let folder = tempfile::tempdir().unwrap();
    let file = settings(folder.path(), &databases);
    let instances = start(here, &redis, &file).await;
    let shards = |args: &[&str]| -> Value {
        let mut command = command(instances.folder.path());
        command.arg("shards").args(args).args(["--output", "json", "--config", file.as_str(), "--data"]);
        let output = tokio::task::block_in_place(|| command.arg(instances.processes.data()).output().unwrap());
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let slot = slot_of("cached").to_string();
    let is_in_south = || lies_in(&other, &databases[1], "cached");

    let watch = Watch::start(&instances.caller);
    // The account goes to the other server, whose log is another, and comes back with what was written there.
    for _ in 0..2 {
        let was_in_south = is_in_south();
        let to = if was_in_south { "north" } else { "south" };
        shards(&["move", "--space", "users", "--slots", &slot, "--to", to]);
        assert_ne!(is_in_south(), was_in_south, "the account stayed where it was");
        tokio::time::sleep(PHASE).await;
    }
    let calls = watch.stop().await;
    assert!(calls > 100, "too few calls: {calls}");
}
