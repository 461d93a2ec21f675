//! CA-8: the remote tier goes away and comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use meshwork_cache::{CacheOptions, LinkState, Miss, Replay};
use tokio::time::advance;

use crate::fake::{Server, process};
use crate::source::{Article, Source, TAGS, text};

const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn ca_8_without_the_remote_tier_reads_go_on_and_are_at_most_a_second_old() {
    let (server, source) = (Server::new(), Source::new());
    let (a, fake) = process(&server, CacheOptions::default()).await;
    source.commit("lamp", "old");
    text(&a, &source, "lamp").await;
    fake.lose();
    assert_eq!(text(&a, &source, "lamp").await, "old");
    assert_eq!(source.loads(), 2, "the local tier was dropped");
    source.commit("lamp", "new");
    advance(MS * 1_000).await;
    assert_eq!(text(&a, &source, "lamp").await, "new");
    let stats = a.tiers().stats();
    assert_eq!((stats.link, stats.outages, stats.tracking), (Some(LinkState::Down), 1, false));
    assert_eq!(stats.kinds[0].misses.get(&Miss::Bypassed), Some(&2));
    assert!(a.tiers().check().unwrap_err().contains("away"));
    fake.come_back().await.unwrap();
    assert_eq!((a.tiers().check(), a.tiers().stats().outages), (Ok(()), 1));
}

#[tokio::test(start_paused = true)]
async fn ca_8_a_command_that_fails_fails_no_read() {
    let (server, source) = (Server::new(), Source::new());
    let (a, fake) = process(&server, CacheOptions::default()).await;
    source.commit("lamp", "a lamp");
    fake.fail(true);
    assert_eq!(text(&a, &source, "lamp").await, "a lamp");
    fake.fail(false);
    assert_eq!(text(&a, &source, "lamp").await, "a lamp");
    assert_eq!((source.loads(), a.tiers().state()), (2, Some(LinkState::Up)));
}

#[tokio::test(start_paused = true)]
async fn ca_8_an_invalidation_that_failed_is_written_before_anything_is_read() {
    let (server, source) = (Server::new(), Source::new());
    let (a, fake) = process(&server, CacheOptions::default()).await;
    source.commit("lamp", "old");
    source.commit("sofa", "old");
    text(&a, &source, "lamp").await;
    text(&a, &source, "sofa").await;
    fake.fail(true);
    let version = source.commit("lamp", "new");
    a.put("lamp", TAGS, Article("new".to_owned()), version).await;
    assert_eq!(a.tiers().state(), Some(LinkState::Down), "it isn't trusted any more");
    let version = source.commit("sofa", "new");
    a.invalidate("sofa", Some(version)).await;
    a.tiers().invalidate_tag("blue", None).await;
    assert_eq!(a.tiers().stats().queued, 3);
    for key in ["lamp", "sofa"] {
        assert_eq!(text(&a, &source, key).await, "new");
        assert_eq!(server.stored(key), Some((1, false)), "it has the old one still");
    }
    assert!(fake.come_back().await.is_err(), "it can't be written yet");
    assert_eq!(a.tiers().stats().queued, 3);
    fake.fail(false);
    fake.come_back().await.unwrap();
    assert_eq!(a.tiers().stats().queued, 0);
    for key in ["lamp", "sofa"] {
        assert_eq!(server.stored(key), Some((2, true)));
        assert_eq!(text(&a, &source, key).await, "new");
    }
}

struct FailsOnce(AtomicUsize);

#[async_trait]
impl Replay for FailsOnce {
    async fn replay(&self) -> Result<(), String> {
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 { Err("the log is away".to_owned()) } else { Ok(()) }
    }
}

#[tokio::test(start_paused = true)]
async fn ca_3_what_was_committed_is_replayed_before_anything_is_read() {
    let server = Server::new();
    let (a, fake) = process(&server, CacheOptions::default()).await;
    let (first, second) = (Arc::new(FailsOnce(AtomicUsize::new(0))), Arc::new(FailsOnce(AtomicUsize::new(1))));
    a.tiers().on_reconnect(first.clone());
    a.tiers().on_reconnect(second.clone());
    fake.lose();
    assert_eq!(fake.come_back().await, Err("the log is away".to_owned()));
    assert_eq!(second.0.load(Ordering::SeqCst), 1, "they run in order");
    fake.come_back().await.unwrap();
    assert_eq!((first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst)), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn ca_3_marks_are_those_of_the_remote_tier() {
    let server = Server::new();
    let (a, _) = process(&server, CacheOptions::default()).await;
    let tiers = a.tiers();
    for n in [7, 5] {
        tiers.advance("users", 0, n).await.unwrap();
    }
    assert_eq!(tiers.marks("users").await, Ok(Some(vec![(0, 7)])));
    let alone = meshwork_cache::Tiers::in_process(meshwork_cache::TiersOptions::default());
    alone.advance("users", 0, 7).await.unwrap();
    assert_eq!(alone.marks("users").await, Ok(None));
}
