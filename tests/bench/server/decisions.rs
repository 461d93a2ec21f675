//! How many decisions a rate limiter makes in a second, in a process of its own.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use meshwork::server::rate::{RateLimiter, Source};
use meshwork_testkit::Redis;
use serde_json::json;

use crate::Pace;
use crate::processes::Obedient;
use crate::stack::{ample, in_redis};

/// Where the buckets are.
const LOCAL: &str = "in the process";
const REDIS: &str = "in Redis";
const LEASES: &str = "Redis, in advance";
/// How many ask at once.
const TASKS: [usize; 2] = [1, 16];
/// After so many decisions a task lets others run: those in the process never wait.
const TURN: u64 = 256;
/// Where Redis is.
const REDIS_URL: &str = "MESHWORK_BENCH_REDIS";

pub struct Decisions {
    pub limiter: &'static str,
    pub tasks: usize,
    pub per_second: f64,
    /// Of them, how many were made without asking Redis although it should have been asked, since it took too long.
    pub fallback: u64,
}

pub fn measure(pace: Pace, redis: &Redis) -> Vec<Decisions> {
    let mut all = Vec::new();
    for limiter in [LOCAL, REDIS, LEASES] {
        for tasks in TASKS {
            let mut command = Command::new(std::env::current_exe().unwrap());
            let window = (pace.long / 4).as_millis().to_string();
            command.args(["decide", limiter, &tasks.to_string(), &window]).env(REDIS_URL, redis.url());
            let result = Obedient::new(command).result().expect("a process ended without a result");
            all.push(Decisions {
                limiter,
                tasks,
                per_second: result["per_second"].as_f64().unwrap(),
                fallback: result["fallback"].as_u64().unwrap(),
            });
        }
    }
    all
}

/// Asks for so long, and writes how often.
pub fn run(kind: &str, tasks: usize, window: Duration) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let url = std::env::var(REDIS_URL).unwrap();
        let limiter = if kind == LOCAL { RateLimiter::in_process() } else { in_redis(&url, kind == LEASES).await };
        let turn = if kind == LOCAL { TURN } else { 1 };
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let askers: Vec<_> = (0..tasks)
            .map(|task| {
                let (limiter, stop, count) = (limiter.clone(), Arc::clone(&stop), Arc::clone(&count));
                tokio::spawn(async move {
                    let (rule, key) = (ample("calls"), format!("users/{task}"));
                    while !stop.load(Ordering::Relaxed) {
                        for _ in 0..turn {
                            assert!(limiter.decide(&rule, &key).await.is_admitted(), "an ample limit is reached");
                        }
                        count.fetch_add(turn, Ordering::Relaxed);
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        tokio::time::sleep(window / 4).await;
        let fallback = || limiter.decisions().admitted(Source::Fallback);
        let (start, before, alone) = (Instant::now(), count.load(Ordering::Relaxed), fallback());
        tokio::time::sleep(window).await;
        let decisions = count.load(Ordering::Relaxed) - before;
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let per_second = decisions as f64 / start.elapsed().as_secs_f64();
        println!("{}", json!({"per_second": per_second, "fallback": fallback() - alone}));
        stop.store(true, Ordering::Relaxed);
        for asker in askers {
            asker.await.unwrap();
        }
    });
}
