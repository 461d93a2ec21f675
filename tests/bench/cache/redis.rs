//! A hit in Redis, beside a bare `fred` GET of the same bytes.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use fred::clients::Client;
use fred::interfaces::{ClientLike as _, KeysInterface as _};
use fred::types::config::Config;
use fred::types::{Builder, RespVersion};
use meshwork_cache::{Loaded, Wanted};
use meshwork_testkit::Redis;

use crate::Values;
use crate::article::{self, Article, Articles, Lost, found, key};
use crate::times::Times;
use crate::turns::{self, CALLERS, by_turns, per_second};

/// How many reads each caller does in a round, each of an article of its own.
const READS: usize = 500;

/// How often the source of truth was asked.
static LOADS: AtomicU64 = AtomicU64::new(0);

async fn load() -> Result<Loaded<Article>, Lost> {
    LOADS.fetch_add(1, Ordering::Relaxed);
    Ok(article::loaded())
}

pub(crate) async fn measure(values: &mut Values) {
    let redis = tokio::task::spawn_blocking(|| Redis::private(&[])).await.unwrap();
    article::fill(&article::in_redis(&redis).await, CALLERS * READS).await;
    let bare = client(redis.url()).await;
    let times = [Times::new(), Times::new()];
    let rates = by_turns(2, async |way| {
        let times = &times[way];
        let rate = if way == 0 {
            per_second(READS, |caller| gets(bare.clone(), times.clone(), caller)).await
        } else {
            // One whose first tier is empty; each article is read once.
            let articles = article::in_redis(&redis).await;
            per_second(READS, |caller| reads(articles.clone(), times.clone(), caller)).await
        };
        times.round_ended();
        rate
    })
    .await;
    turns::add_rate(values, "redis_fred_get", &rates[0]);
    turns::add(values, "redis_hit", "fred_get", &rates[1], &rates[0]);
    times[0].add_to(values, "redis_fred_get");
    times[1].add_to(values, "redis_hit");
    values.add("redis_misses", LOADS.load(Ordering::Relaxed));
}

async fn client(url: &str) -> Client {
    let mut config = Config::from_url(url).unwrap();
    config.version = RespVersion::RESP3;
    let client = Builder::from_config(config).build().unwrap();
    client.init().await.unwrap();
    client
}

/// The articles of a caller.
fn keys(caller: usize) -> impl Iterator<Item = String> {
    (caller * READS..(caller + 1) * READS).map(key)
}

async fn gets(bare: Client, times: Times, caller: usize) {
    let mut times = times.caller();
    for key in keys(caller) {
        let stored = format!("meshwork:v:articles:{{{key}}}");
        let begun = Instant::now();
        let bytes: Option<Bytes> = bare.get(stored).await.unwrap();
        times.ended(begun);
        assert!(black_box(bytes).is_some(), "no tier has put {key}");
    }
}

async fn reads(articles: Articles, times: Times, caller: usize) {
    let mut times = times.caller();
    for key in keys(caller) {
        let begun = Instant::now();
        let article = articles.read(&key, &[], Wanted::Recent, load).await;
        times.ended(begun);
        black_box(found(article));
    }
}
