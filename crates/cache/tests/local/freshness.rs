//! CA-7, CA-8 and tokens: how old an answer may be.

use std::time::Duration;

use meshwork_cache::{CacheOptions, Loaded, Wanted};
use tokio::time::{Instant, advance, sleep};

use crate::source::{Article, Failure, Source, TAGS, begin_read, in_process, read, read_at, text};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn ca_7_what_nobody_tells_of_is_seen_within_a_second() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    source.commit("lamp", "old");
    text(&cache, &source, "lamp").await;
    source.commit("lamp", "new");
    advance(MS * 700).await;
    assert_eq!(text(&cache, &source, "lamp").await, "old");
    advance(MS * 310).await;
    assert_eq!(text(&cache, &source, "lamp").await, "new");
}

#[tokio::test(start_paused = true)]
async fn ca_7_the_second_counts_from_the_beginning_of_the_load() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    source.commit("lamp", "old");
    source.slow(MS * 600);
    let read = begin_read(&cache, &source, "lamp").await;
    source.commit("lamp", "new");
    read.await.unwrap().unwrap();
    sleep(MS * 500).await;
    source.slow(Duration::ZERO);
    assert_eq!(text(&cache, &source, "lamp").await, "new");
}

#[tokio::test(start_paused = true)]
async fn ca_8_while_the_source_is_away_a_stale_value_stands_in_within_its_bound() {
    let options = CacheOptions { ttl: SECOND * 10, stale: SECOND * 20, ..CacheOptions::default() };
    let (cache, source) = (in_process(options), Source::new());
    source.commit("lamp", "old");
    text(&cache, &source, "lamp").await;
    source.fail(Some(Failure::Away));
    advance(SECOND * 28).await;
    assert_eq!(text(&cache, &source, "lamp").await, "old");
    let stats = cache.tiers().stats().kinds.remove(0);
    assert_eq!((stats.stale, stats.failed_loads), (1, 1));
    assert_eq!(read_at(&cache, &source, "lamp", source.token()).await, Err(Failure::Away), "never with a token");
    advance(SECOND * 4).await;
    assert_eq!(read(&cache, &source, "lamp").await, Err(Failure::Away));
}

#[tokio::test(start_paused = true)]
async fn ca_8_a_failure_that_is_no_absence_of_the_source_is_answered() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    source.commit("lamp", "old");
    text(&cache, &source, "lamp").await;
    source.fail(Some(Failure::Wrong));
    advance(SECOND * 2).await;
    assert_eq!(read(&cache, &source, "lamp").await, Err(Failure::Wrong));
}

#[tokio::test(start_paused = true)]
async fn ca_8_what_was_invalidated_never_stands_in() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    source.commit("lamp", "old");
    text(&cache, &source, "lamp").await;
    source.fail(Some(Failure::Away));
    cache.invalidate("lamp", Some(2)).await;
    assert_eq!(read(&cache, &source, "lamp").await, Err(Failure::Away));
    source.fail(None);
    text(&cache, &source, "lamp").await;
    source.fail(Some(Failure::Away));
    cache.tiers().invalidate_tag("red", None).await;
    assert_eq!(read(&cache, &source, "lamp").await, Err(Failure::Away));
}

#[tokio::test(start_paused = true)]
async fn a_reader_with_a_token_sees_what_was_committed_before_it() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    source.commit("lamp", "old");
    let before = source.token();
    text(&cache, &source, "lamp").await;
    source.commit("lamp", "new");
    let token = source.token();
    assert_eq!(read_at(&cache, &source, "lamp", before).await, Ok(Some("old".to_owned())), "its position covers that");
    assert_eq!(source.loads(), 1);
    assert_eq!(read_at(&cache, &source, "lamp", token).await, Ok(Some("new".to_owned())));
    assert_eq!(read_at(&cache, &source, "lamp", token).await, Ok(Some("new".to_owned())));
    assert_eq!(source.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_reader_with_a_token_is_not_served_by_a_load_that_began_before_it() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    source.commit("lamp", "old");
    source.slow(MS * 100);
    let recent = begin_read(&cache, &source, "lamp").await;
    source.commit("lamp", "new");
    let token = source.token();
    assert_eq!(read_at(&cache, &source, "lamp", token).await, Ok(Some("new".to_owned())));
    assert_eq!(recent.await.unwrap(), Ok(Some("old".to_owned())));
    assert_eq!(source.loads(), 2);
    assert_eq!(text(&cache, &source, "lamp").await, "new");
}

#[tokio::test(start_paused = true)]
async fn what_was_written_through_serves_a_token_after_one_load() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    let version = source.commit("lamp", "new");
    let token = source.token();
    cache.put("lamp", TAGS, Article("new".to_owned()), version).await;
    assert_eq!(read(&cache, &source, "lamp").await, Ok(Some("new".to_owned())));
    assert_eq!(source.loads(), 0);
    for _ in 0..3 {
        assert_eq!(read_at(&cache, &source, "lamp", token).await, Ok(Some("new".to_owned())));
    }
    assert_eq!(source.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_history_is_served_by_the_source() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    source.commit("lamp", "a lamp");
    let token = Wanted::AtLeast(meshwork_cache::Position { history: 2, at: 0 });
    for loads in 1..=2 {
        assert_eq!(read_at(&cache, &source, "lamp", token).await, Ok(Some("a lamp".to_owned())));
        assert_eq!(source.loads(), loads);
    }
}

#[tokio::test(start_paused = true)]
async fn ca_4_a_reader_waits_for_no_load_that_began_over_a_second_ago() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    source.commit("lamp", "old");
    source.slow(MS * 3_000);
    let slow = begin_read(&cache, &source, "lamp").await;
    sleep(MS * 900).await;
    let joined = begin_read(&cache, &source, "lamp").await;
    sleep(MS * 200).await;
    source.commit("lamp", "new");
    source.slow(Duration::ZERO);
    assert_eq!(text(&cache, &source, "lamp").await, "new");
    assert_eq!(joined.await.unwrap(), Ok(Some("old".to_owned())));
    assert_eq!(slow.await.unwrap(), Ok(Some("old".to_owned())));
    assert_eq!(source.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn ca_8_a_load_that_takes_long_is_answered_by_a_stale_value_and_goes_on() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    source.commit("lamp", "old");
    text(&cache, &source, "lamp").await;
    source.commit("lamp", "new");
    advance(SECOND * 2).await;
    source.slow(SECOND * 4);
    let began = Instant::now();
    assert_eq!(text(&cache, &source, "lamp").await, "old");
    assert!((1_000..1_100).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    let token = source.token();
    assert_eq!(read_at(&cache, &source, "lamp", token).await, Ok(Some("new".to_owned())), "never with a token");
    assert_eq!(read(&cache, &source, "sofa").await, Ok(None), "there is nothing that could stand in");
    let stats = cache.tiers().stats().kinds.remove(0);
    assert_eq!((stats.stale, stats.loads, stats.failed_loads), (1, 4, 0));
}

#[tokio::test(start_paused = true)]
async fn ca_8_a_stale_value_stands_in_for_who_waits_behind_a_reader_with_a_token() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    source.commit("lamp", "old");
    text(&cache, &source, "lamp").await;
    advance(SECOND * 2).await;
    source.slow(MS * 100);
    source.fail(Some(Failure::Away));
    let token = source.token();
    let (with_token, recent) = tokio::join!(read_at(&cache, &source, "lamp", token), read(&cache, &source, "lamp"));
    assert_eq!((with_token, recent), (Err(Failure::Away), Ok(Some("old".to_owned()))));
    assert_eq!(source.loads(), 2, "they have waited for one load");
}

#[tokio::test(start_paused = true)]
async fn ca_8_what_a_load_has_shown_to_be_outdated_never_stands_in() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    source.commit("lamp", "old");
    source.commit("sofa", "old");
    text(&cache, &source, "lamp").await;
    text(&cache, &source, "sofa").await;
    advance(SECOND * 2).await;
    let erased = || async {
        Ok::<_, Failure>(Loaded { value: Some(Article("erased".to_owned())), version: 2, position: None, keep: false })
    };
    cache.read("lamp", TAGS, Wanted::Recent, erased).await.unwrap();
    source.commit("sofa", &"x".repeat((256 << 10) + 1));
    text(&cache, &source, "sofa").await;
    source.fail(Some(Failure::Away));
    for key in ["lamp", "sofa"] {
        assert_eq!(read(&cache, &source, key).await, Err(Failure::Away), "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_history_replaces_nothing() {
    let (cache, source) = (in_process(CacheOptions::default()), Source::new());
    source.commit("lamp", "a lamp");
    text(&cache, &source, "lamp").await;
    let token = source.token();
    let other = Wanted::AtLeast(meshwork_cache::Position { history: 2, at: 0 });
    assert_eq!(read_at(&cache, &source, "lamp", other).await, Ok(Some("a lamp".to_owned())));
    assert_eq!(source.loads(), 2);
    // What was loaded for the other one would cover this token.
    assert_eq!(read_at(&cache, &source, "lamp", token).await, Ok(Some("a lamp".to_owned())));
    assert_eq!(source.loads(), 3);
}
