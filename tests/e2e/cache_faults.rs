//! Redis fails in every way under load, beneath the caches and the limits of the gateway.

use std::time::{Duration, Instant};

use meshwork_api::meshwork::users::v1::GetJsonWebKeySetRequest;
use meshwork_api::meshwork::users::v1::auth_service_client::AuthServiceClient;
use meshwork_testkit::Redis;
use tokio::task::JoinSet;
use tonic::Code;

use crate::instances::{Caller, Instances, Thing, Watch, caching};
use crate::processes::{NAMES, Processes};
use crate::proof::Load;
use crate::shop::eventually;

/// Orders a second, and for how long at most.
const ORDERS: (u32, u64) = (10, 600);
/// How long Redis stands still once that is known, and what the processes have when they find it again.
const STILL: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_secs(1);
/// Readers of one account, and for how long they read it.
const READERS: usize = 16;
const READING: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn ca_8_redis_fails_in_every_way_under_load_and_no_call_fails() {
    let (redis, other) = (Redis::private(&[]), Redis::private(&[]));
    let rest: Vec<_> = NAMES.into_iter().filter(|name| !["users", "products"].contains(name)).collect();
    let instances = Instances::start(Some(&redis), &rest).await;
    for service in ["users.v1.UserService", "products.v1.ProductService", "orders.v1.OrderService"] {
        instances.processes.wait_for_service("gateway", &format!("meshwork.{service}"));
    }
    instances.linked().await;
    let target = format!("http://{}", instances.processes.address("gateway"));
    let credentials = instances.processes.data().join("credentials/staff.json");
    let mut load = Load::start(instances.folder.path(), &target, &credentials, ORDERS, &["--cancel", "5"]);
    load.has_answers(10);
    let watch = Watch::start(&instances.caller);
    tokio::time::sleep(AGAIN).await;

    println!("killed");
    redis.kill();
    instances.degraded().await;
    // That takes a few looks.
    instances.says("products", "failed").await;
    redis.start_again();
    instances.linked().await;
    instances.says("products", "passing").await;
    tokio::time::sleep(AGAIN).await;

    println!("frozen");
    redis.freeze();
    instances.degraded().await;
    tokio::time::sleep(STILL).await;
    redis.thaw();
    instances.linked().await;
    tokio::time::sleep(AGAIN).await;

    println!("flushed");
    redis.flush();
    tokio::time::sleep(2 * AGAIN).await;
    instances.linked().await;

    println!("demoted");
    redis.replica_of(&other);
    instances.degraded().await;
    tokio::time::sleep(STILL).await;
    redis.promote();
    instances.linked().await;
    tokio::time::sleep(AGAIN).await;

    println!("restarted");
    redis.kill();
    redis.start_again();
    tokio::time::sleep(2 * AGAIN).await;
    instances.linked().await;

    load.has_answers(load.answered() + 10);
    assert!(watch.stop().await > 500, "too few calls");
    load.interrupt();
    let report = load.report();
    for key in ["failed", "unknown", "unsettled"] {
        assert_eq!(report[key], 0, "{key} in {report}");
    }
    for label in caching() {
        let is_done = async || instances.stats(label).await.queued_invalidations == 0;
        eventually(&format!("{label} has told Redis all that it missed"), is_done).await;
        let stats = instances.stats(label).await;
        // It is away for long three times, which nobody can miss.
        assert!(stats.outages >= 3 && !stats.problem.is_empty(), "{label}: {stats:?}");
    }

    redis.freeze();
    instances.degraded().await;
    the_database_is_asked_once_a_second(&instances).await;
}

/// However many read it, the account is loaded by each process as often as its entry in the first tier ends.
async fn the_database_is_asked_once_a_second(instances: &Instances) {
    let labels = Thing::User.labels();
    let mut before = Vec::new();
    for label in labels {
        before.push(instances.stats_of(label, Thing::User.kind()).await.loads);
    }
    let begun = Instant::now();
    let mut readers = JoinSet::new();
    for reader in 0..READERS {
        readers.spawn(reads(instances.caller.clone(), reader % labels.len(), begun));
    }
    let reads: i64 = readers.join_all().await.into_iter().sum();
    // An entry may end a tenth of its time before the second is over.
    let bound = 2 * i64::try_from(begun.elapsed().as_secs()).unwrap() + 4;
    for (label, before) in labels.into_iter().zip(before) {
        let loads = instances.stats_of(label, Thing::User.kind()).await.loads - before;
        assert!((1..=bound).contains(&loads), "{label} has loaded the account {loads} times for {reads} reads");
    }
    assert!(reads > 10 * bound, "too few reads: {reads}");
}

async fn reads(caller: Caller, at: usize, begun: Instant) -> i64 {
    let mut count = 0;
    while begun.elapsed() < READING {
        caller.read(Thing::User, at, None).await.unwrap();
        count += 1;
    }
    count
}

/// What a caller without a token may do at the gateway: the burst, and calls a second.
const BURST: u32 = 20;
const PER_SECOND: u32 = 5;
/// For how long it is tried.
const TRYING: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn rl_6_two_gateways_keep_one_limit_while_redis_is_frozen() {
    let (redis, folder) = (Redis::private(&[]), tempfile::tempdir().unwrap());
    let (burst, per_second) = (BURST.to_string(), PER_SECOND.to_string());
    let settings = [
        ("MESHWORK_REDIS_URL", redis.url()),
        ("MESHWORK_GATEWAY__RATE_LIMIT__BURST", burst.as_str()),
        ("MESHWORK_GATEWAY__RATE_LIMIT__PER_SECOND", per_second.as_str()),
        ("MESHWORK_GATEWAY__RATE_LIMIT__INSTANCES", "2"),
    ];
    let mut processes = Processes::several(folder.path(), &[("gateway", 2)], &settings);
    for label in ["users", "gateway", "gateway-2"] {
        processes.start(label);
    }
    for label in ["users", "gateway", "gateway-2"] {
        processes.wait_for(label);
    }
    for label in ["gateway", "gateway-2"] {
        processes.wait_for_service(label, "meshwork.users.v1.AuthService");
    }
    let well = admitted(&processes).await;
    redis.freeze();
    let frozen = admitted(&processes).await;
    redis.thaw();
    for (how, (count, time)) in [("well", well), ("frozen", frozen)] {
        let most = 1.1 * (f64::from(BURST) + f64::from(PER_SECOND) * time.as_secs_f64());
        assert!(f64::from(count) <= most, "{how}: {count} calls are admitted in {time:?}");
        assert!(count >= PER_SECOND, "{how}: only {count} calls are admitted in {time:?}");
    }
}

/// How many calls both gateways admit, and within what time.
async fn admitted(processes: &Processes) -> (u32, Duration) {
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for label in ["gateway", "gateway-2"] {
        let mut users = AuthServiceClient::new(processes.channel(label));
        callers.spawn(async move {
            let mut count = 0_u32;
            while begun.elapsed() < TRYING {
                match users.get_json_web_key_set(GetJsonWebKeySetRequest::default()).await {
                    Err(status) if status.code() == Code::ResourceExhausted => {}
                    answer => {
                        answer.unwrap();
                        count += 1;
                    }
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            count
        });
    }
    let count = callers.join_all().await.into_iter().sum();
    (count, begun.elapsed())
}
