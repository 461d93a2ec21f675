//! Buckets in a Redis that several instances share.

use std::time::{Duration, Instant};

use meshwork::server::Domain;
use meshwork::server::rate::{Decision, Key, Quota, Rate, RateLimitLayer, RateLimiter, Rule, Source};
use meshwork_testkit::Redis;
use tokio::task::JoinSet;

use crate::support::{DAY, call_from, connected, namespace, patient, send};

fn rule(burst: u64, per_second: f64) -> Rule {
    Rule::new("calls", Rate::per_second(burst, per_second).unwrap())
}

async fn instances(redis: &Redis, test: &str, count: usize) -> (String, Vec<RateLimiter>) {
    let namespace = namespace(test);
    let mut limiters = Vec::new();
    for _ in 0..count {
        limiters.push(connected(RateLimiter::builder().namespace(namespace.clone()), patient(redis)).await);
    }
    (namespace, limiters)
}

/// How many decisions were made out of reach of Redis: some until the connection is there.
fn without_redis(limiter: &RateLimiter) -> u64 {
    limiter.decisions().admitted(Source::Fallback) + limiter.decisions().refused(Source::Fallback)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rl_4_two_hundred_callers_on_two_instances_admit_exactly_the_burst() {
    let redis = Redis::start();
    let (_, limiters) = instances(&redis, "rl4", 2).await;
    let once_a_day = Rule::new("calls", Rate::new(100, 1, DAY).unwrap());
    let alone = |limiters: &[RateLimiter]| limiters.iter().map(without_redis).sum::<u64>();
    let before = alone(&limiters);
    let mut calls = JoinSet::new();
    for caller in 0..200 {
        let (limiter, rule) = (limiters[caller % 2].clone(), once_a_day.clone());
        calls.spawn(async move { limiter.decide(&rule, "anna").await });
    }
    let decisions = calls.join_all().await;
    assert_eq!(decisions.iter().filter(|decision| decision.is_admitted()).count(), 100);
    let waits = decisions.iter().filter_map(|decision| match decision {
        Decision::Denied { retry_after, .. } => Some(*retry_after),
        _ => None,
    });
    assert!(waits.into_iter().all(|wait| wait <= DAY && wait > DAY / 2));
    assert_eq!(alone(&limiters), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rl_2_instances_together_admit_no_more_than_burst_plus_rate() {
    let redis = Redis::start();
    for (burst, per_second) in [(20_u64, 100.0), (500, 50_000.0)] {
        let (_, limiters) = instances(&redis, "rl2", 2).await;
        let start = Instant::now();
        let mut callers = JoinSet::new();
        for limiter in limiters {
            callers.spawn(async move {
                let mut admitted = 0_u64;
                while start.elapsed() < Duration::from_millis(700) {
                    admitted += u64::from(limiter.decide(&rule(burst, per_second), "anna").await.is_admitted());
                    tokio::task::yield_now().await;
                }
                admitted
            });
        }
        let admitted: u64 = callers.join_all().await.into_iter().sum();
        let most = burst as f64 + per_second * start.elapsed().as_secs_f64() + 1.0;
        assert!(admitted >= burst && admitted as f64 <= most, "{admitted} of at most {most}");
    }
}

#[tokio::test]
async fn rl_3_a_bucket_that_expired_is_as_one_that_was_kept() {
    let redis = Redis::start();
    let (namespace, limiters) = instances(&redis, "rl3", 1).await;
    let key = |rule: &str| format!("{{{namespace}/own:anna}}:{rule}");
    let mut connection = redis.connection();
    // Ten a day: a fixed expiry of a minute would give ten a minute.
    let slow = Rule::new("slow", Rate::new(10, 10, DAY).unwrap());
    for _ in 0..10 {
        assert!(limiters[0].decide(&slow, "anna").await.is_admitted());
    }
    let kept: u64 = connection.command(&["PTTL", &key("slow:10-1-8640000000-us")]).parse().unwrap();
    let day = u64::try_from(DAY.as_millis()).unwrap();
    assert!((day - 60_000..=day + 1000).contains(&kept), "{kept}");
    // What is idle for half the time that it takes to fill has half a burst, for ten times a burst.
    let quick = Rule::new("quick", Rate::new(4, 4, Duration::from_secs(2)).unwrap());
    for (idle, expected) in [(1000_u64, 2..=3), (20_000, 4..=4)] {
        while limiters[0].decide(&quick, "anna").await.is_admitted() {}
        // Instead of waiting: the bucket is that much older.
        let name = key("quick:4-1-500000-us");
        let at: u64 = connection.command(&["HGET", &name, "t"]).parse().unwrap();
        connection.command(&["HSET", &name, "t", &(at - idle * 1000).to_string()]);
        let fresh = connected(RateLimiter::builder().namespace(namespace.clone()), patient(&redis)).await;
        let mut admitted = 0;
        while fresh.decide(&quick, "anna").await.is_admitted() {
            admitted += 1;
        }
        // On a machine that is held up, a token may come back meanwhile.
        assert!(expected.contains(&admitted) || admitted == expected.end() + 1, "{admitted} after {idle} ms");
    }
}

#[tokio::test]
async fn rl_5_the_clock_of_an_instance_changes_nothing() {
    // Time is the server's: nothing that the script is given tells an instance's.
    let redis = Redis::start();
    let (namespace, limiters) = instances(&redis, "rl5", 1).await;
    let once = Rule::new("once", Rate::new(1, 1, DAY).unwrap());
    limiters[0].decide(&once, "anna").await;
    let mut connection = redis.connection();
    let time = connection.command(&["TIME"]);
    let seconds: u64 = time.lines().next().unwrap().parse().unwrap();
    let name = format!("{{{namespace}/own:anna}}:once:1-1-86400000000-us");
    let at: u64 = connection.command(&["HGET", &name, "t"]).parse().unwrap();
    assert!((seconds - 60..=seconds + 1).contains(&(at / 1_000_000)), "{at} is not about {seconds} s");
    // An hour ahead, as by a primary that was replaced: nobody waits longer than a bucket takes to fill.
    let second = Rule::new("second", Rate::per_second(1, 1.0).unwrap());
    let name = format!("{{{namespace}/own:bert}}:second:1-1-1000000-us");
    let ahead = (seconds + 3600) * 1_000_000;
    connection.command(&["HSET", &name, "l", "0", "t", &ahead.to_string()]);
    let Decision::Denied { retry_after, .. } = limiters[0].decide(&second, "bert").await else { panic!("it is empty") };
    assert!(retry_after <= Duration::from_secs(2), "{retry_after:?}");
}

#[tokio::test]
async fn rl_5_a_damaged_bucket_locks_nobody_out_for_longer_than_it_takes_to_fill() {
    const REFILL: Duration = Duration::from_secs(20);
    // In milliseconds, with the second for the clocks.
    const LIFE: std::ops::RangeInclusive<u64> = 1..=21_000;
    let redis = Redis::start();
    let (namespace, limiters) = instances(&redis, "damaged", 1).await;
    let mut connection = redis.connection();
    let calls = rule(2, 0.1);
    let bucket = |caller: &str| format!("{{{namespace}/own:{caller}}}:calls:2-1-10000000-us");
    // Far below zero, and of a day that never comes.
    for (caller, level, at) in
        [("a", "-999999999999999", "99999999999999999"), ("b", "0", "inf"), ("c", "-inf", "1e300")]
    {
        connection.command(&["HSET", &bucket(caller), "l", level, "t", at]);
        for _ in 0..2 {
            let Decision::Denied { retry_after, .. } = limiters[0].decide(&calls, caller).await else {
                panic!("{caller}: it is empty")
            };
            assert!(retry_after <= REFILL, "{caller}: {retry_after:?}");
        }
        let kept: u64 = connection.command(&["PTTL", &bucket(caller)]).parse().unwrap();
        assert!(LIFE.contains(&kept), "{caller}: {kept}");
    }
    // What is no bucket is a full one, and becomes one.
    let mut foreign: Vec<Vec<String>> = Vec::new();
    for (caller, level, at) in [("d", "much", "today"), ("e", "nan", "1"), ("f", "1", "nan"), ("g", "", "")] {
        foreign.push(["HSET", &bucket(caller), "l", level, "t", at].map(str::to_owned).to_vec());
    }
    foreign.push(["HSET", &bucket("h"), "x", "1"].map(str::to_owned).to_vec());
    foreign.push(["SET", &bucket("i"), "1"].map(str::to_owned).to_vec());
    foreign.push(["RPUSH", &bucket("j"), "1", "2"].map(str::to_owned).to_vec());
    for (write, caller) in foreign.iter().zip(["d", "e", "f", "g", "h", "i", "j"]) {
        connection.command(write);
        let decision = limiters[0].decide(&calls, caller).await;
        let is_left = matches!(decision, Decision::Admitted { quota: Some(Quota { remaining: 1, .. }) });
        assert!(is_left, "{write:?}: {decision:?}");
        assert_eq!(connection.command(&["HGET", &bucket(caller), "l"]), "10000000", "{write:?}");
        let kept: u64 = connection.command(&["PTTL", &bucket(caller)]).parse().unwrap();
        assert!(LIFE.contains(&kept), "{write:?}: {kept}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rl_7_a_script_flush_under_load_gives_no_error() {
    let redis = Redis::start();
    let (_, limiters) = instances(&redis, "rl7", 1).await;
    let ample = rule(1_000_000, 1e6);
    let before = without_redis(&limiters[0]);
    let mut callers = JoinSet::new();
    for caller in 0..8 {
        let (limiter, rule) = (limiters[0].clone(), ample.clone());
        callers.spawn(async move {
            for _ in 0..300 {
                assert!(limiter.decide(&rule, &caller.to_string()).await.is_admitted());
            }
        });
    }
    let flushing = tokio::task::spawn_blocking(move || {
        let mut connection = redis.connection();
        for _ in 0..50 {
            connection.command(&["SCRIPT", "FLUSH"]);
            std::thread::sleep(Duration::from_millis(5));
        }
        redis
    });
    callers.join_all().await;
    drop(flushing.await.unwrap());
    assert_eq!(without_redis(&limiters[0]), before, "{limiters:?}");
}

#[tokio::test]
async fn rl_9_idle_keys_are_gone_within_their_time_to_fill_and_two_seconds() {
    let redis = Redis::start();
    let (namespace, limiters) = instances(&redis, "rl9", 1).await;
    let second = rule(2, 4.0);
    for caller in 0..20 {
        limiters[0].decide(&second, &caller.to_string()).await;
    }
    let mut connection = redis.connection();
    let mut alive = || {
        let pattern = format!("{{{namespace}/own:[0-9]*");
        connection.command(&["KEYS", &pattern]).lines().count()
    };
    // A second of two tokens at four a second, and up to a second for the clocks.
    let begin = Instant::now();
    let mut seen = 0;
    while begin.elapsed() < Duration::from_secs(30) {
        let now = alive();
        seen = seen.max(now);
        if now == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((seen, alive()), (20, 0));
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn rl_8_a_denial_holds_without_asking_again() {
    let redis = Redis::start();
    let (_, limiters) = instances(&redis, "cached", 1).await;
    let once = Rule::new("once", Rate::new(1, 1, DAY).unwrap());
    for _ in 0..10 {
        limiters[0].decide(&once, "anna").await;
    }
    let decisions = limiters[0].decisions();
    assert_eq!((decisions.refused(Source::Redis), decisions.refused(Source::CachedDenial)), (1, 8));
    assert!(limiters[0].decide(&once, "bert").await.is_admitted());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rl_8_nine_of_ten_decisions_of_a_busy_key_ask_nobody_and_none_is_too_many() {
    let redis = Redis::start();
    let namespace = namespace("rl8");
    let mut limiters = Vec::new();
    for _ in 0..2 {
        let builder = RateLimiter::builder().namespace(namespace.clone()).instances(2);
        limiters.push(connected(builder, patient(&redis).leases(true)).await);
    }
    let asked = |limiters: &[RateLimiter]| -> u64 {
        limiters.iter().map(|limiter| limiter.decisions().admitted(Source::Redis)).sum()
    };
    let before = asked(&limiters);
    // Tens of tokens in advance; the limit is never met.
    let wide = rule(10_000, 2000.0);
    for _ in 0..1000 {
        for limiter in &limiters {
            assert!(limiter.decide(&wide, "busy").await.is_admitted());
        }
    }
    let asked = asked(&limiters) - before;
    assert!(asked <= 200, "{asked} of 2000 decisions asked Redis");
    // At the limit: a burst that never comes back is admitted, once, less what is lost of leases.
    let narrow = Rule::new("narrow", Rate::new(500, 1, DAY).unwrap());
    let mut callers = JoinSet::new();
    for caller in 0..8 {
        let (limiter, rule) = (limiters[caller % 2].clone(), narrow.clone());
        callers.spawn(async move {
            let mut admitted = 0;
            for _ in 0..150 {
                admitted += u64::from(limiter.decide(&rule, "busy").await.is_admitted());
            }
            admitted
        });
    }
    let admitted: u64 = callers.join_all().await.into_iter().sum();
    assert!((400..=500).contains(&admitted), "{admitted}");
}

async fn several_limits(redis: &Redis, limiter: RateLimiter) {
    let wide = Rule::new("all", Rate::new(5, 5, DAY).unwrap()).key(Key::Method);
    let narrow = Rule::new("address", Rate::new(2, 2, DAY).unwrap()).key(Key::Address);
    let layer = RateLimitLayer::new(limiter, [wide, narrow], Domain::default());
    let rule_of = |status: tonic::Status| {
        tonic_types::StatusExt::get_details_error_info(&status).unwrap().metadata["rule"].clone()
    };
    for address in ["192.0.2.1", "192.0.2.2"] {
        for _ in 0..2 {
            send(&layer, call_from(address)).await.unwrap();
        }
        assert_eq!(rule_of(send(&layer, call_from(address)).await.unwrap_err()), "address");
    }
    // Denials took nothing of the wide one: its fifth token is there.
    send(&layer, call_from("192.0.2.3")).await.unwrap();
    assert_eq!(rule_of(send(&layer, call_from("192.0.2.3")).await.unwrap_err()), "all");
    let _ = redis;
}

#[tokio::test]
async fn several_limits_are_taken_together_or_not_at_all() {
    let redis = Redis::start();
    let (_, mut limiters) = instances(&redis, "several", 1).await;
    several_limits(&redis, limiters.remove(0)).await;
}

#[tokio::test]
async fn several_limits_are_taken_together_or_given_back_in_a_cluster() {
    let redis = Redis::private(&["--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"]);
    let mut connection = redis.connection();
    connection.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    crate::support::until("the cluster is whole", || {
        connection.command(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
    })
    .await;
    let url = redis.url().replace("redis://", "redis-cluster://");
    let settings = meshwork::server::rate::RedisSettings::new(url).budget(Duration::from_secs(30));
    let limiter = connected(RateLimiter::builder().namespace("cluster"), settings).await;
    several_limits(&redis, limiter).await;
}
