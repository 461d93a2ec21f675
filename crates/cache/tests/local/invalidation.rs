//! CA-6: by key, by tag and by kind.

use std::time::Duration;

use meshwork_cache::{CacheOptions, Miss};

use crate::source::{Source, begin_read, in_process, text};

#[tokio::test(start_paused = true)]
async fn ca_6_a_key_a_tag_or_a_kind_drops_what_it_names() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    source.commit("lamp", "a lamp");
    text(&cache, &source, "lamp").await;
    let tiers = cache.tiers();
    tiers.invalidate_tag("blue", None).await;
    tiers.invalidate_kind("others").await;
    assert!(tiers.invalidate("articles", "sofa", None).await);
    assert!(!tiers.invalidate("others", "lamp", None).await, "there is no such kind");
    text(&cache, &source, "lamp").await;
    assert_eq!(source.loads(), 1);
    tiers.invalidate_tag("red", None).await;
    text(&cache, &source, "lamp").await;
    assert_eq!(source.loads(), 2);
    tiers.invalidate_kind("articles").await;
    text(&cache, &source, "lamp").await;
    assert_eq!(source.loads(), 3);
    assert!(tiers.invalidate("articles", "lamp", None).await);
    text(&cache, &source, "lamp").await;
    assert_eq!(source.loads(), 4);
    assert_eq!(tiers.stats().kinds[0].misses.get(&Miss::Invalidated), Some(&2));
    assert_eq!(tiers.kinds(), ["articles"]);
}

#[tokio::test(start_paused = true)]
async fn ca_6_a_load_that_began_before_is_not_kept() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    source.commit("lamp", "old");
    source.slow(Duration::from_millis(100));
    let slow = begin_read(&cache, &source, "lamp").await;
    source.commit("lamp", "new");
    cache.tiers().invalidate_tag("red", Some("lamp@2")).await;
    slow.await.unwrap().unwrap();
    assert_eq!(text(&cache, &source, "lamp").await, "new");
}

#[tokio::test(start_paused = true)]
async fn ca_6_the_same_cause_drops_once() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    source.commit("lamp", "a lamp");
    for (cause, loads) in [("lamp@1", 1), ("lamp@1", 1), ("lamp@2", 2)] {
        cache.tiers().invalidate_tag("red", Some(cause)).await;
        text(&cache, &source, "lamp").await;
        assert_eq!(source.loads(), loads, "{cause}");
    }
}
