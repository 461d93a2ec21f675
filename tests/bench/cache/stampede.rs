//! A thousand readers of a key that no tier has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use meshwork_cache::{Tiers, TiersOptions, Wanted};
use meshwork_testkit::Redis;
use tokio::sync::Semaphore;

use crate::article::{self, Articles, found};
use crate::{Values, rounded};

/// How many read it at once.
const READERS: usize = 1_000;
/// How long a load takes.
const LOAD: Duration = Duration::from_millis(20);
/// How many loads the source of truth bears at once.
const PLACES: usize = 16;
/// How often; the median counts.
const ROUNDS: usize = 9;

pub(crate) async fn measure(values: &mut Values) {
    let direct = median(async |_| (loads().await, 0)).await;
    let alone: Articles = Tiers::in_process(TiersOptions::default()).cache(article::options());
    let in_process = median(async |round| reads(std::slice::from_ref(&alone), round).await).await;
    let redis = tokio::task::spawn_blocking(|| Redis::private(&[])).await.unwrap();
    let both = [article::in_redis(&redis).await, article::in_redis(&redis).await];
    let in_redis = median(async |round| reads(&both, round).await).await;

    values.add("stampede_readers", READERS);
    values.add("stampede_direct_ms", rounded(direct.0));
    for (name, (ms, loads)) in [("in_process", in_process), ("redis", in_redis)] {
        values.add(format!("stampede_{name}_ms"), rounded(ms));
        values.add(format!("stampede_{name}_loads"), loads);
        values.add(format!("stampede_{name}_ms_against_direct"), rounded(ms / direct.0));
    }
}

/// The median of the milliseconds, and the most loads of a round.
async fn median(round: impl AsyncFn(usize) -> (Duration, u64)) -> (f64, u64) {
    let (mut times, mut most) = (Vec::new(), 0);
    for at in 0..ROUNDS {
        let (time, loads) = round(at).await;
        times.push(time);
        most = most.max(loads);
    }
    times.sort_unstable();
    (times[ROUNDS / 2].as_secs_f64() * 1e3, most)
}

/// A load for each reader.
async fn loads() -> Duration {
    let places = Arc::new(Semaphore::new(PLACES));
    let begun = Instant::now();
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let places = places.clone();
            tokio::spawn(async move {
                let _place = places.acquire().await.unwrap();
                tokio::time::sleep(LOAD).await;
            })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
    begun.elapsed()
}

/// The same readers at caches, by turns; how often there was a load.
async fn reads(caches: &[Articles], round: usize) -> (Duration, u64) {
    let loads = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let readers: Vec<_> = (0..READERS)
        .map(|reader| {
            let (articles, loads) = (caches[reader % caches.len()].clone(), loads.clone());
            tokio::spawn(async move {
                let load = move || {
                    loads.fetch_add(1, Ordering::Relaxed);
                    async {
                        tokio::time::sleep(LOAD).await;
                        Ok(article::loaded())
                    }
                };
                found(articles.read(&format!("cold-{round}"), &[], Wanted::Recent, load).await);
            })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
    (begun.elapsed(), loads.load(Ordering::Relaxed))
}
