//! CA-4 and CA-2 in the process: one load for all, and none that brings back what is outdated.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use meshwork_cache::{CacheOptions, Loaded, Wanted};

use crate::source::{Article, Failure, Source, TAGS, begin_read, in_process, read, text};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn ca_4_a_thousand_concurrent_misses_load_once() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    source.commit("lamp", "a lamp");
    source.slow(SECOND / 10);
    let reads: Vec<_> = (0..1_000)
        .map(|_| {
            let (cache, source) = (cache.clone(), Arc::clone(&source));
            tokio::spawn(async move { text(&cache, &source, "lamp").await })
        })
        .collect();
    for read in reads {
        assert_eq!(read.await.unwrap(), "a lamp");
    }
    assert_eq!(source.loads(), 1);
    let stats = cache.tiers().stats().kinds.remove(0);
    assert_eq!((stats.loads, stats.coalesced, stats.local_hits), (1, 999, 0));
}

#[tokio::test(start_paused = true)]
async fn ca_4_a_cancelled_leader_cancels_no_follower() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    source.commit("lamp", "a lamp");
    source.slow(SECOND / 2);
    let leader = begin_read(&cache, &source, "lamp").await;
    let follower = begin_read(&cache, &source, "lamp").await;
    leader.abort();
    assert_eq!(follower.await.unwrap(), Ok(Some("a lamp".to_owned())));
    assert_eq!(source.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn ca_5_an_error_goes_to_all_who_wait_and_is_not_cached() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    source.commit("lamp", "a lamp");
    source.slow(SECOND / 10);
    source.fail(Some(Failure::Wrong));
    let leader = begin_read(&cache, &source, "lamp").await;
    let follower = begin_read(&cache, &source, "lamp").await;
    assert_eq!(leader.await.unwrap(), Err(Failure::Wrong));
    assert_eq!(follower.await.unwrap(), Err(Failure::Wrong));
    source.fail(None);
    assert_eq!(text(&cache, &source, "lamp").await, "a lamp");
    assert_eq!(source.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn ca_4_readers_whose_flight_broke_off_load_by_themselves() {
    let cache = in_process(CacheOptions::default());
    let has_panicked = Arc::new(AtomicBool::new(false));
    let load = move || {
        let is_first = !has_panicked.swap(true, Ordering::SeqCst);
        async move {
            assert!(!is_first, "planted");
            Ok::<_, Failure>(Loaded { value: Some(Article("x".to_owned())), version: 1, position: None, keep: true })
        }
    };
    let article = cache.read("lamp", TAGS, Wanted::Recent, load).await.unwrap().unwrap();
    assert_eq!(article.0, "x");
}

#[tokio::test(start_paused = true)]
async fn ca_2_a_slow_load_is_not_kept_after_a_write_through() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    source.commit("lamp", "old");
    source.slow(SECOND / 2);
    let slow = begin_read(&cache, &source, "lamp").await;
    let version = source.commit("lamp", "new");
    cache.put("lamp", TAGS, Article("new".to_owned()), version).await;
    assert_eq!(text(&cache, &source, "lamp").await, "new");
    assert_eq!(slow.await.unwrap(), Ok(Some("old".to_owned())), "it came before the write");
    assert_eq!(text(&cache, &source, "lamp").await, "new");
    assert_eq!(source.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn ca_2_after_an_invalidation_nobody_joins_a_load_that_began_before() {
    for versioned in [true, false] {
        let (cache, source) = (in_process(CacheOptions::default()), Source::new());
        source.commit("lamp", "old");
        source.slow(SECOND / 2);
        let slow = begin_read(&cache, &source, "lamp").await;
        let version = source.commit("lamp", "new");
        cache.invalidate("lamp", versioned.then_some(version)).await;
        assert_eq!(text(&cache, &source, "lamp").await, "new");
        slow.await.unwrap().unwrap();
        assert_eq!(text(&cache, &source, "lamp").await, "new");
        assert_eq!(source.loads(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn ca_2_an_older_write_through_replaces_nothing_newer() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    cache.put("lamp", TAGS, Article("new".to_owned()), 7).await;
    cache.put("lamp", TAGS, Article("old".to_owned()), 6).await;
    cache.invalidate("lamp", Some(7)).await;
    assert_eq!(text(&cache, &source, "lamp").await, "new");
    cache.invalidate("lamp", Some(8)).await;
    assert_eq!(read(&cache, &source, "lamp").await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn an_entry_is_refreshed_by_one_load_before_its_time_is_over() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    source.commit("lamp", "a lamp");
    source.slow(SECOND / 2);
    text(&cache, &source, "lamp").await;
    tokio::time::advance(SECOND * 2 / 10).await;
    for _ in 0..50 {
        text(&cache, &source, "lamp").await;
    }
    let refreshes = || cache.tiers().stats().kinds[0].refreshes;
    assert_eq!((refreshes(), source.loads()), (0, 1), "its last fifth has not begun");
    tokio::time::advance(SECOND * 29 / 100).await;
    for _ in 0..50 {
        text(&cache, &source, "lamp").await;
    }
    assert_eq!(refreshes(), 1);
    tokio::time::sleep(SECOND * 6 / 10).await;
    let hits = cache.tiers().stats().kinds[0].local_hits;
    text(&cache, &source, "lamp").await;
    assert_eq!((source.loads(), cache.tiers().stats().kinds[0].local_hits), (2, hits + 1));
}
