//! A hit in the process, beside a bare `moka` get of the same articles.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use meshwork_cache::{Loaded, Tiers, TiersOptions, Wanted};

use crate::Values;
use crate::article::{self, Article, Articles, Lost, article, found, key};
use crate::turns::{self, by_turns, per_second};

/// How many articles there are.
const KEYS: usize = 1_000;
/// How many reads each caller does in a round: few enough that no entry gets as old as a second meanwhile.
const READS: usize = 20_000;

/// How often the source of truth was asked.
static LOADS: AtomicU64 = AtomicU64::new(0);

async fn load() -> Result<Loaded<Article>, Lost> {
    LOADS.fetch_add(1, Ordering::Relaxed);
    Ok(article::loaded())
}

pub(crate) async fn measure(values: &mut Values) {
    let keys: Arc<Vec<_>> = Arc::new((0..KEYS).map(key).collect());
    let bare = moka::sync::Cache::new(u64::try_from(2 * KEYS).unwrap());
    for key in keys.iter() {
        bare.insert(key.clone(), Arc::new(article()));
    }
    let articles: Articles = Tiers::in_process(TiersOptions::default()).cache(article::options());
    let rates = by_turns(2, async |way| {
        if way == 0 {
            return per_second(READS, |caller| gets(bare.clone(), keys.clone(), caller)).await;
        }
        // Without Redis an entry lives for a second.
        article::fill(&articles, KEYS).await;
        per_second(READS, |caller| reads(articles.clone(), keys.clone(), caller)).await
    })
    .await;
    turns::add_rate(values, "in_process_moka_get", &rates[0]);
    turns::add(values, "in_process_hit", "moka_get", &rates[1], &rates[0]);
    values.add("in_process_misses", LOADS.load(Ordering::Relaxed));
}

async fn gets(bare: moka::sync::Cache<String, Arc<Article>>, keys: Arc<Vec<String>>, caller: usize) {
    let mut random = fastrand::Rng::with_seed(caller as u64);
    for _ in 0..READS {
        let key = keys[random.usize(..KEYS)].as_str();
        black_box(bare.get(black_box(key)).unwrap());
    }
}

async fn reads(articles: Articles, keys: Arc<Vec<String>>, caller: usize) {
    let mut random = fastrand::Rng::with_seed(caller as u64);
    for _ in 0..READS {
        let key = keys[random.usize(..KEYS)].as_str();
        black_box(found(articles.read(black_box(key), &[], Wanted::Recent, load).await));
    }
}
