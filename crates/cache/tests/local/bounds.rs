//! What is never stored, and how much is (CA-5, CA-8, CA-9).

use std::sync::Arc;
use std::time::Duration;

use meshwork_cache::{CacheOptions, Loaded, Miss, Wanted};

use crate::source::{Article, Failure, Source, TAGS, begin_read, in_process, read, text};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn ca_5_that_there_is_none_is_cached_until_it_is_created() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    for _ in 0..3 {
        assert_eq!(read(&cache, &source, "lamp").await, Ok(None));
    }
    assert_eq!(source.loads(), 1);
    let version = source.commit("lamp", "a lamp");
    cache.put("lamp", TAGS, Article("a lamp".to_owned()), version).await;
    assert_eq!(text(&cache, &source, "lamp").await, "a lamp");
    assert_eq!(source.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn ca_5_guessed_keys_fill_no_cache() {
    let options = CacheOptions { negatives_per_second: 5, ..CacheOptions::default() };
    let (cache, source) = (in_process(options), Source::new());
    for n in 0..50 {
        assert_eq!(read(&cache, &source, &format!("guess-{n}")).await, Ok(None));
    }
    let negatives = || cache.tiers().stats().kinds[0].negatives;
    assert_eq!(negatives(), 5);
    tokio::time::advance(SECOND).await;
    for n in 0..50 {
        assert_eq!(read(&cache, &source, &format!("guess-{n}")).await, Ok(None));
    }
    assert_eq!((negatives(), source.loads()), (10, 100));
}

#[tokio::test(start_paused = true)]
async fn ca_8_no_more_loads_than_allowed_are_under_way() {
    let options = CacheOptions { max_loads: 4, ..CacheOptions::default() };
    let (cache, source) = (in_process(options), Source::new());
    source.slow(SECOND / 20);
    let reads: Vec<_> = (0..60)
        .map(|n| {
            let (cache, source) = (cache.clone(), Arc::clone(&source));
            tokio::spawn(async move { read(&cache, &source, &format!("key-{n}")).await })
        })
        .collect();
    for read in reads {
        assert_eq!(read.await.unwrap(), Ok(None));
    }
    assert_eq!((source.loads(), source.most_at_once()), (60, 4));
}

#[tokio::test(start_paused = true)]
async fn ca_8_who_gets_no_place_among_the_loads_is_told_so_in_time() {
    let options = CacheOptions { max_loads: 1, load_wait: SECOND * 2, ..CacheOptions::default() };
    let (cache, source) = (in_process(options), Source::new());
    source.slow(SECOND * 4);
    let long = begin_read(&cache, &source, "long").await;
    let began = tokio::time::Instant::now();
    assert_eq!(read(&cache, &source, "other").await, Err(Failure::Overloaded));
    assert_eq!(began.elapsed().as_secs(), 2);
    assert_eq!(long.await.unwrap(), Ok(None));
}

#[tokio::test(start_paused = true)]
async fn ca_8_a_load_that_hangs_is_given_up() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    source.slow(SECOND * 3_600);
    let began = tokio::time::Instant::now();
    assert_eq!(read(&cache, &source, "lamp").await, Err(Failure::Overloaded));
    assert_eq!(began.elapsed().as_secs(), 5);
    let options = CacheOptions { longest_load: SECOND * 2, ..CacheOptions::default() };
    let (cache, began) = (in_process(options), tokio::time::Instant::now());
    assert_eq!(read(&cache, &source, "lamp").await, Err(Failure::Overloaded));
    assert_eq!(began.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn ca_8_a_part_of_the_source_that_hangs_holds_up_no_load_of_another() {
    let options = CacheOptions { max_loads: 1, lanes: 2, load_wait: SECOND * 2, ..CacheOptions::default() };
    let (cache, source) = (in_process(options), Source::new());
    source.commit("lamp", "a lamp");
    source.slow(SECOND * 4);
    let hanging = begin_read(&cache, &source, "long").await;
    source.slow(Duration::ZERO);
    let began = tokio::time::Instant::now();
    assert_eq!(text(&cache.lane(1), &source, "lamp").await, "a lamp");
    assert_eq!(began.elapsed().as_secs(), 0);
    assert_eq!(text(&cache, &source, "lamp").await, "a lamp", "it is the same cache");
    assert_eq!(read(&cache.lane(2), &source, "sofa").await, Err(Failure::Overloaded), "that is the first lane again");
    assert_eq!(hanging.await.unwrap(), Ok(None));
}

#[tokio::test(start_paused = true)]
async fn ca_9_what_is_too_big_is_answered_and_stored_nowhere() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    let big = "x".repeat((256 << 10) + 1);
    let version = source.commit("lamp", &big);
    for _ in 0..2 {
        assert_eq!(text(&cache, &source, "lamp").await, big);
    }
    cache.put("lamp", TAGS, Article(big.clone()), version).await;
    assert_eq!(text(&cache, &source, "lamp").await, big);
    let stats = cache.tiers().stats().kinds.remove(0);
    assert_eq!((source.loads(), stats.oversized, stats.local_entries), (3, 4, 0));
}

#[tokio::test(start_paused = true)]
async fn ca_9_a_long_key_is_never_cached() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    let (long, longest) = ("k".repeat(513), "k".repeat(512));
    for key in [&long, &longest] {
        source.commit(key, "a lamp");
        cache.put(key, TAGS, Article("a lamp".to_owned()), 1).await;
        cache.invalidate(key, Some(2)).await;
        text(&cache, &source, key).await;
        text(&cache, &source, key).await;
    }
    assert_eq!(source.loads(), 3);
    assert_eq!(cache.tiers().stats().kinds[0].misses.get(&Miss::Uncacheable), Some(&2));
}

#[tokio::test(start_paused = true)]
async fn ca_7_the_local_tier_is_bounded_by_bytes() {
    let options = CacheOptions { local_bytes: 64 << 10, ..CacheOptions::default() };
    let (cache, source) = (in_process(options), Source::new());
    for n in 0..500 {
        let key = format!("key-{n}");
        source.commit(&key, &"x".repeat(1_000));
        text(&cache, &source, &key).await;
    }
    let stats = cache.tiers().stats().kinds.remove(0);
    assert!(stats.local_bytes <= 64 << 10, "{stats:?}");
    assert!(stats.local_entries > 10, "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_kept_is_answered_and_stored_nowhere() {
    let cache = in_process(CacheOptions::default());
    let load = || async {
        Ok::<_, Failure>(Loaded { value: Some(Article("erased".to_owned())), version: 3, position: None, keep: false })
    };
    for _ in 0..2 {
        assert_eq!(cache.read("anna", TAGS, Wanted::Recent, load).await.unwrap().unwrap().0, "erased");
    }
    let stats = cache.tiers().stats().kinds.remove(0);
    assert_eq!((stats.loads, stats.local_hits, stats.local_entries), (2, 0, 0));
}
