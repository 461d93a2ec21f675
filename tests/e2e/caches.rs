//! Users and products with their caches: what one instance has written shows at the other, and what staff are told of it.

use std::time::Duration;

use meshwork_api::meshwork::admin::v1::cache_stats::Link;
use meshwork_api::meshwork::users::v1::user_service_client::UserServiceClient;
use meshwork_api::meshwork::users::v1::{DeleteUserRequest, GetUserRequest};
use meshwork_testkit::up::{UNLIMITED, text, with};
use meshwork_testkit::{Gateway, Postgres, Redis, Up};
use serde_json::Value;
use tonic::Code;
use tonic::transport::Channel;

use crate::instances::{Caller, Instances, Seen, Thing, Watch, at_least, caching, seen_by, within_bound};
use crate::proof::Load;
use crate::shop::eventually;

/// How often each thing is written at one instance and read at the other.
const ROUNDS: u32 = 20;
/// The rounds that are written behind the back of the services, and by an instance that crashes.
const BEHIND: u32 = 1_000;
const CRASHED: u32 = 2_000;
/// For how long instances without Redis are watched.
const WATCH: Duration = Duration::from_secs(6);

/// What `meshwork cache stats` has printed of a service, as JSON.
fn of_service(stdout: &[u8], service: &str) -> Value {
    let printed: Value = serde_json::from_slice(stdout).unwrap();
    let services = printed["services"].as_array().unwrap();
    services.iter().find(|stats| stats["service"] == service).unwrap_or_else(|| panic!("{printed}")).clone()
}

/// What an `up` prints of its caches.
fn cache_line(up: &Up) -> String {
    up.output().lines().find(|line| line.starts_with("cache ")).unwrap_or_else(|| panic!("{}", up.output())).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_killed_and_comes_back_under_a_load_and_no_call_fails() {
    let (postgres, redis, folder) = (Postgres::start(), Redis::private(&[]), tempfile::tempdir().unwrap());
    let (database, url) = (postgres.database(), redis.url().to_owned());
    let up = Up::try_start_with(folder.path(), &["--postgres", &database, "--redis", &url], UNLIMITED);
    let up = up.unwrap_or_else(|problem| panic!("{problem}"));
    assert!(cache_line(&up).contains(url.trim_start_matches("redis://")), "{}", up.output());
    let target = format!("http://{}", up.address("gateway"));
    let demo = tokio::task::block_in_place(|| up.run(["demo", "--target", &target]));
    assert!(demo.status.success(), "{}\n{}", text(&demo.stderr), up.log());
    let stats = |output: &str| {
        let stats = up.run(["cache", "stats", "--output", output, "--target", &target]);
        assert!(stats.status.success(), "{}\n{}", text(&stats.stderr), up.log());
        stats.stdout
    };
    let link = |service: &str| of_service(&stats("json"), service)["link"].clone();

    let credentials = up.data().join("credentials/staff.json");
    let mut load = Load::start(folder.path(), &target, &credentials, (10, 300), &["--cancel", "5", "--ship", "10"]);
    load.has_answers(20);
    redis.kill();
    for service in ["users", "products"] {
        eventually(&format!("{service} miss Redis"), async || link(service) == "down").await;
    }
    load.has_answers(load.answered() + 20);
    redis.start_again();
    for service in ["users", "products"] {
        eventually(&format!("{service} find Redis again"), async || link(service) == "up").await;
    }
    load.has_answers(load.answered() + 20);
    load.interrupt();
    let report = load.report();
    for key in ["failed", "unknown", "unsettled"] {
        assert_eq!(report[key], 0, "{key} in {report}\n{}", up.log());
    }

    for service in ["users", "products"] {
        let told = of_service(&stats("json"), service);
        assert!(told["outages"].as_u64() >= Some(1) && told["tracking"] == true, "{told}");
        assert!(told["problem"].as_str().is_some_and(|problem| !problem.is_empty()), "{told}");
        assert!(told["kinds"].as_array().unwrap().iter().any(|kind| kind["kind"] == service), "{told}");
    }
    let told = text(&stats("text"));
    for words in ["users: Redis is up", "products: Redis is up", "lost ", "last problem: "] {
        assert!(told.contains(words), "{words:?} is not in\n{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_an_up_caches_in_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), UNLIMITED);
    assert!(cache_line(&up).contains("in process"), "{}", up.output());
    let (name, customer) = up.customer("alone").await;
    let mut users = UserServiceClient::new(up.channel());
    for _ in 0..10 {
        users.get_user(with(&customer, GetUserRequest { name: name.clone() })).await.unwrap();
    }
    let stats =
        up.run(["cache", "stats", "--output", "json", "--target", &format!("http://{}", up.address("gateway"))]);
    assert!(stats.status.success(), "{}", text(&stats.stderr));
    let told = of_service(&stats.stdout, "users");
    assert_eq!(told["link"], "none", "{told}");
    assert!(told["kinds"][0]["local_hits"].as_u64() >= Some(5), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ca_7_what_one_instance_writes_shows_at_the_other() {
    let redis = Redis::private(&[]);
    let instances = Instances::start(Some(&redis), &[]).await;
    instances.linked().await;
    let caller = &instances.caller;
    for round in 1..=ROUNDS {
        let (at, other) = if round % 2 == 0 { (1, 0) } else { (0, 1) };
        for thing in Thing::ALL {
            // Both have it in their processes.
            caller.read(thing, at, None).await.unwrap();
            caller.read(thing, other, None).await.unwrap();
            assert!(caller.list(other, None).await.unwrap() < round);
            let seen = caller.write(thing, at, round).await.unwrap();
            // A read with the token would make the one without it right too: by turns.
            if round % 4 < 2 {
                assert_eq!(caller.read(thing, other, Some(&seen)).await.unwrap(), round, "{thing:?}");
            } else {
                caller.shows(thing, other, round).await;
            }
            if thing == Thing::User {
                continue;
            }
            if round % 4 < 2 {
                assert_eq!(caller.list(other, Some(&seen)).await.unwrap(), round);
            } else {
                caller.lists(other, round).await;
            }
        }
    }
    for label in caching() {
        let is_up = async || {
            let stats = instances.stats(label).await;
            stats.link() == Link::Up && stats.tracking
        };
        eventually(&format!("{label} is told of changes"), is_up).await;
    }
    for thing in Thing::ALL {
        for label in thing.labels() {
            let stats = instances.stats_of(label, thing.kind()).await;
            let loads = i64::from(ROUNDS) * 3;
            assert!(stats.local_hits > 0 && stats.puts > 0 && stats.loads <= loads, "{label}: {stats:?}");
        }
    }
}

/// All that is cached in a Redis, as text.
fn cached(redis: &Redis) -> String {
    let mut connection = redis.connection();
    let keys = connection.command(&["KEYS", "meshwork:*:v:*"]);
    keys.lines().map(|key| connection.command(&["GET", key])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_erasure_of_a_person_reaches_every_tier() {
    let redis = Redis::private(&[]);
    let instances = Instances::start(Some(&redis), &[]).await;
    instances.linked().await;
    let address = instances.processes.address("users").parse().unwrap();
    let (name, customer) = Gateway::new(address, &instances.processes.data()).customer("erased").await;
    let [mut one, mut two] =
        Thing::User.labels().map(|label| UserServiceClient::new(instances.processes.channel(label)));
    for users in [&mut one, &mut two] {
        users.get_user(with(&customer, GetUserRequest { name: name.clone() })).await.unwrap();
    }
    let before = cached(&redis);
    assert!(before.contains("erased@example.com"), "the account isn't cached at all");
    assert!(!before.contains("argon2"), "the hash of a password is cached");

    let request = DeleteUserRequest { name: name.clone(), ..DeleteUserRequest::default() };
    let seen: Seen = seen_by(&one.delete_user(with(&customer, request)).await.unwrap());
    let read = at_least(&customer, Some(&seen), GetUserRequest { name: name.clone() });
    assert_eq!(two.get_user(read).await.unwrap_err().code(), Code::NotFound);
    let gone = async |users: &UserServiceClient<Channel>| {
        let request = with(&customer, GetUserRequest { name: name.clone() });
        users.clone().get_user(request).await.is_err_and(|status| status.code() == Code::NotFound)
    };
    for users in [&one, &two] {
        within_bound("the deletion", async || gone(users).await).await;
    }
    // Staff see a deleted account; that stores it nowhere.
    for users in [&mut one, &mut two] {
        let read = with(&instances.staff, GetUserRequest { name: name.clone() });
        assert!(users.get_user(read).await.unwrap().into_inner().delete_time.is_some());
    }
    assert!(!cached(&redis).contains("erased@example.com"), "Redis has what was erased");
}

/// How often two shops write what has the same name in both.
const OF_SHOPS: u32 = 5;
/// What is added to the rounds of the second one.
const SECOND: u32 = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn two_shops_on_one_redis_never_show_what_is_the_other_s() {
    let (postgres, redis) = (Postgres::start(), Redis::private(&[]));
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let shops = folders.each_ref().map(|folder| {
        let database = postgres.database();
        let up = Up::try_start_with(folder.path(), &["--postgres", &database, "--redis", redis.url()], UNLIMITED);
        up.unwrap_or_else(|problem| panic!("{problem}"))
    });
    let callers = [Caller::of_shop(&shops[0], "same").await, Caller::of_shop(&shops[1], "same").await];
    for thing in Thing::ALL {
        let pattern = format!("meshwork:*:v:{}:{{same}}", thing.kind());
        let has_both = async || {
            for caller in &callers {
                caller.read(thing, 0, None).await.unwrap();
            }
            redis.connection().command(&["KEYS", pattern.as_str()]).lines().count() == 2
        };
        eventually(&format!("{thing:?} of each shop has a key of its own"), has_both).await;
    }
    for round in 1..=OF_SHOPS {
        for thing in Thing::ALL {
            for (caller, first) in callers.iter().zip([0, SECOND]) {
                caller.write(thing, 0, first + round).await.unwrap();
            }
            // By then whoever caches what is written in Redis has been told of it.
            tokio::time::sleep(Duration::from_millis(100)).await;
            for (caller, first) in callers.iter().zip([0, SECOND]) {
                assert_eq!(caller.read(thing, 0, None).await.unwrap(), first + round, "{thing:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_no_answer_is_older_than_a_second() {
    let instances = Instances::start(None, &[]).await;
    let watch = Watch::start(&instances.caller);
    tokio::time::sleep(WATCH).await;
    assert!(watch.stop().await > 100, "too few calls");
    for label in caching() {
        let stats = instances.stats(label).await;
        assert!(stats.link() == Link::None && !stats.tracking, "{label}: {stats:?}");
        assert!(stats.kinds.iter().any(|kind| kind.local_hits > 0), "{label}: {stats:?}");
        assert_eq!(instances.processes.check(label, "cache"), Value::Null, "{label} checks what isn't there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_drop_what_is_cached_by_key_by_tag_and_by_kind() {
    let redis = Redis::private(&[]);
    let instances = Instances::start(Some(&redis), &["gateway"]).await;
    instances.linked().await;
    for service in ["users.v1.UserService", "products.v1.ProductService"] {
        instances.processes.wait_for_service("gateway", &format!("meshwork.{service}"));
    }
    let caller = &instances.caller;
    let run = |args: &[&str]| instances.processes.run(&[&["cache", "invalidate"][..], args].concat());
    let dropped = |args: &[&str]| {
        let output = run(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    };
    for thing in Thing::ALL {
        for at in [0, 1] {
            caller.read(thing, at, None).await.unwrap();
            caller.list(at, None).await.unwrap();
        }
    }
    for table in ["users.users", "products.product"] {
        instances.sql(&format!("UPDATE {table} SET display_name = 'Round {BEHIND}' WHERE id = 'cached'"));
    }
    for at in [0, 1] {
        for thing in Thing::ALL {
            assert_eq!(caller.read(thing, at, None).await.unwrap(), 0, "{thing:?} at {at} isn't cached");
        }
        assert_eq!(caller.list(at, None).await.unwrap(), 0, "the list at {at} isn't cached");
    }

    dropped(&["--key", &caller.user]);
    for at in [0, 1] {
        caller.shows(Thing::User, at, BEHIND).await;
    }
    dropped(&["--tag", "products"]);
    for at in [0, 1] {
        caller.lists(at, BEHIND).await;
        assert_eq!(caller.read(Thing::Product, at, None).await.unwrap(), 0, "a product has no tag");
    }
    dropped(&["--kind", "products"]);
    for at in [0, 1] {
        caller.shows(Thing::Product, at, BEHIND).await;
    }
    for unknown in [["--kind", "orders"], ["--tag", "orders"], ["--key", "orders/1"]] {
        assert!(!run(&unknown).status.success(), "{unknown:?}");
    }
}

/// The other instance reads the change from the outbox, and drops what is cached of it.
#[tokio::test(flavor = "multi_thread")]
async fn ca_3_a_crash_between_commit_and_invalidation_heals_within_a_second() {
    let redis = Redis::private(&[]);
    let mut instances = Instances::start(Some(&redis), &[]).await;
    instances.linked().await;
    let caller = instances.caller.clone();
    for thing in Thing::ALL {
        let [victim, _] = thing.labels();
        instances.processes.stop(victim);
        instances.processes.start_with(victim, &[("MESHWORK_CRASH_POINT", "cache::before_put")]);
        instances.processes.wait_for(victim);
        let is_read = async || caller.read(thing, 0, None).await.is_ok();
        eventually("the victim can be read", is_read).await;
        assert_eq!(caller.read(thing, 1, None).await.unwrap(), 0);
        caller.write(thing, 0, CRASHED).await.expect_err("the process has ended before it could answer");
        assert!(instances.processes.log(victim).contains("crash point cache::before_put"), "{victim}");
        caller.shows(thing, 1, CRASHED).await;
        if thing == Thing::Product {
            caller.lists(1, CRASHED).await;
        }
        instances.processes.kill(victim);
        instances.processes.start(victim);
        instances.processes.wait_for(victim);
        let shows = async || caller.read(thing, 0, None).await.is_ok_and(|round| round == CRASHED);
        eventually("the victim shows what it has committed", shows).await;
    }
}
