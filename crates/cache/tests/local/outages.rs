//! CA-8: the remote tier goes away and comes back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use meshwork_cache::{CacheOptions, LinkState, Mark, Miss, Observer, Replay, Tiers, TiersOptions};
use tokio::time::advance;

use crate::fake::{Fake, Server, process};
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
    advance(MS * 1_000).await;
    assert_eq!(text(&a, &source, "lamp").await, "a lamp");
    assert_eq!((source.loads(), a.tiers().state()), (2, Some(LinkState::Up)));
    assert_eq!(server.stored("lamp"), Some((1, false)));
}

#[tokio::test(start_paused = true)]
async fn ca_8_what_the_remote_tier_did_not_answer_is_held_for_a_second() {
    for only_tags_fail in [false, true] {
        let (server, source) = (Server::new(), Source::new());
        let (a, fake) = process(&server, CacheOptions::default()).await;
        source.commit("lamp", "a lamp");
        fake.fail(!only_tags_fail);
        fake.fail_tags(only_tags_fail);
        for loads in 1..=3 {
            text(&a, &source, "lamp").await;
            advance(MS * 500).await;
            text(&a, &source, "lamp").await;
            assert_eq!((source.loads(), server.is_leased("lamp")), (loads, false));
            advance(MS * 500).await;
        }
    }
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
    assert_eq!(second.0.load(Ordering::SeqCst), 2, "nobody waits for another");
    fake.come_back().await.unwrap();
    assert_eq!((first.0.load(Ordering::SeqCst), second.0.load(Ordering::SeqCst)), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn ca_3_marks_are_those_of_the_remote_tier() {
    let server = Server::new();
    let (a, _) = process(&server, CacheOptions::default()).await;
    let tiers = a.tiers();
    let [mark, earlier] = [7, 5].map(|n| Mark { partition: 0, n, fingerprint: 70 });
    for mark in [mark, earlier] {
        tiers.advance("users", mark).await.unwrap();
    }
    assert_eq!(tiers.marks("users").await, Ok(Some(vec![mark])));
    tiers.reset_marks("users").await.unwrap();
    assert_eq!(tiers.marks("users").await, Ok(Some(Vec::new())));
    tiers.advance("users", earlier).await.unwrap();
    assert_eq!(tiers.marks("users").await, Ok(Some(vec![earlier])));
    let alone = Tiers::in_process(TiersOptions::default());
    alone.advance("users", mark).await.unwrap();
    alone.reset_marks("users").await.unwrap();
    assert_eq!(alone.marks("users").await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn ca_3_after_an_outage_the_same_cause_is_carried_out_again() {
    let (server, source) = (Server::new(), Source::new());
    let (a, fake) = process(&server, CacheOptions::default()).await;
    source.commit("lamp", "a lamp");
    text(&a, &source, "lamp").await;
    let (snapshot, tag) = (server.snapshot(), server.tag("red").unwrap());
    a.tiers().invalidate_tag("red", Some("lamp@2")).await;
    assert_eq!(server.tag("red"), Some(tag + 1));
    server.restore(&snapshot);
    fake.lose();
    fake.catch_up().await.unwrap();
    a.tiers().invalidate_tag("red", Some("lamp@2")).await;
    assert_eq!(server.tag("red"), Some(tag + 1), "it has older data than was known");
}

#[tokio::test(start_paused = true)]
async fn ca_3_a_cause_that_an_outage_came_upon_counts_for_nothing() {
    let (server, source) = (Server::new(), Source::new());
    let (a, fake) = process(&server, CacheOptions::default()).await;
    source.commit("lamp", "a lamp");
    text(&a, &source, "lamp").await;
    let (snapshot, tag) = (server.snapshot(), server.tag("red").unwrap());
    let (lost, restored) = (Arc::clone(&fake), Arc::clone(&server));
    fake.before("the answer to bump", move || {
        restored.restore(&snapshot);
        lost.lose();
    });
    a.tiers().invalidate_tag("red", Some("lamp@2")).await;
    assert_eq!((server.tag("red"), a.tiers().stats().queued), (Some(tag), 0));
    a.tiers().invalidate_tag("red", Some("lamp@2")).await;
    assert_eq!(a.tiers().stats().queued, 1);
    fake.come_back().await.unwrap();
    assert_eq!(server.tag("red"), Some(tag + 1));
}

#[tokio::test(start_paused = true)]
async fn ca_3_a_hook_that_comes_when_the_link_is_up_is_called_before_reads_go_on() {
    let (server, source) = (Server::new(), Source::new());
    let (a, fake) = process(&server, CacheOptions::default()).await;
    let hook = Arc::new(FailsOnce(AtomicUsize::new(1)));
    a.tiers().on_reconnect(hook.clone());
    assert_eq!(a.tiers().state(), Some(LinkState::Down));
    source.commit("lamp", "a lamp");
    assert_eq!(text(&a, &source, "lamp").await, "a lamp");
    assert_eq!(server.stored("lamp"), None);
    fake.come_back().await.unwrap();
    assert_eq!((hook.0.load(Ordering::SeqCst), a.tiers().stats().outages), (2, 0), "it was no outage");
}

#[derive(Default)]
struct States(Mutex<Vec<LinkState>>);

impl Observer for States {
    fn link(&self, state: LinkState) {
        self.0.lock().unwrap().push(state);
    }
}

#[tokio::test(start_paused = true)]
async fn the_link_is_up_when_the_remote_tier_says_so() {
    let states = Arc::new(States::default());
    let fake = Fake::connect(&Server::new());
    let tiers = Tiers::with_remote(TiersOptions { observer: Some(states.clone()) }, fake.clone());
    fake.catch_up().await.unwrap();
    fake.lose();
    assert_eq!((states.0.lock().unwrap().clone(), tiers.stats().outages), (vec![LinkState::CatchingUp], 0));
    fake.come_back().await.unwrap();
    fake.lose();
    let seen = [LinkState::CatchingUp, LinkState::CatchingUp, LinkState::Up, LinkState::Down];
    assert_eq!((states.0.lock().unwrap().clone(), tiers.stats().outages), (seen.to_vec(), 1));
}

#[tokio::test(start_paused = true)]
async fn what_may_be_older_than_was_known_is_dropped_by_the_next_recovery() {
    let (server, source) = (Server::new(), Source::new());
    let (a, fake) = process(&server, CacheOptions::default()).await;
    source.commit("lamp", "old");
    text(&a, &source, "lamp").await;
    source.commit("lamp", "new");
    fake.listener().forget();
    fake.lose();
    fake.come_back().await.unwrap();
    assert_eq!(text(&a, &source, "lamp").await, "new");
    fake.lose();
    fake.come_back().await.unwrap();
    text(&a, &source, "lamp").await;
    assert_eq!((source.loads(), a.tiers().stats().queued), (2, 0), "once");
}
