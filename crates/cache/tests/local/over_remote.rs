//! Two processes over one remote tier.

use std::sync::Arc;
use std::time::Duration;

use meshwork_cache::{CacheOptions, KindStats, Loaded, Miss, Wanted};
use tokio::time::Instant;

use crate::fake::{Server, process};
use crate::source::{Article, Articles, Failure, Source, TAGS, begin_read, read, read_at, text};

const MS: Duration = Duration::from_millis(1);

async fn two() -> (Arc<Server>, Articles, Articles, Arc<Source>) {
    let server = Server::new();
    let (a, _) = process(&server, CacheOptions::default()).await;
    let (b, _) = process(&server, CacheOptions::default()).await;
    (server, a, b, Source::new())
}

fn stats(cache: &Articles) -> KindStats {
    cache.tiers().stats().kinds.remove(0)
}

#[tokio::test(start_paused = true)]
async fn what_one_process_has_loaded_serves_the_other() {
    let (_, a, b, source) = two().await;
    source.commit("lamp", "a lamp");
    for cache in [&a, &b, &b] {
        assert_eq!(text(cache, &source, "lamp").await, "a lamp");
    }
    assert_eq!(read(&a, &source, "sofa").await, Ok(None));
    assert_eq!(read(&b, &source, "sofa").await, Ok(None));
    assert_eq!(source.loads(), 2);
    assert_eq!((stats(&b).remote_hits, stats(&b).local_hits, stats(&b).loads), (2, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn ca_4_a_thousand_misses_over_two_processes_load_once() {
    let (_, a, b, source) = two().await;
    source.commit("lamp", "a lamp");
    source.slow(MS * 50);
    let reads: Vec<_> = (0..1_000)
        .map(|n| {
            let (cache, source) = (if n % 2 == 0 { a.clone() } else { b.clone() }, Arc::clone(&source));
            tokio::spawn(async move { text(&cache, &source, "lamp").await })
        })
        .collect();
    for read in reads {
        assert_eq!(read.await.unwrap(), "a lamp");
    }
    assert_eq!(source.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn ca_4_who_has_no_lease_waits_a_moment_then_loads_and_stores_nothing() {
    let (server, a, _, source) = two().await;
    source.commit("lamp", "a lamp");
    server.lease("lamp");
    for loads in 1..=2 {
        let began = Instant::now();
        assert_eq!(text(&a, &source, "lamp").await, "a lamp");
        assert!((200..250).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
        assert_eq!((source.loads(), server.stored("lamp")), (loads, None));
    }
}

#[tokio::test(start_paused = true)]
async fn ca_2_a_fill_that_came_too_late_is_kept_nowhere() {
    let (server, a, b, source) = two().await;
    source.commit("lamp", "old");
    source.slow(MS * 100);
    let slow = begin_read(&a, &source, "lamp").await;
    let version = source.commit("lamp", "new");
    b.put("lamp", TAGS, Article("new".to_owned()), version).await;
    assert_eq!(slow.await.unwrap(), Ok(Some("old".to_owned())), "it came before the write");
    assert_eq!(server.stored("lamp"), Some((2, true)), "nothing was there");
    source.slow(Duration::ZERO);
    assert_eq!(text(&a, &source, "lamp").await, "new");
    assert_eq!((source.loads(), stats(&a).refused_fills), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn ca_2_a_write_through_of_what_is_not_there_leaves_a_tombstone_and_enters_by_its_first_load() {
    let (server, a, b, source) = two().await;
    let version = source.commit("lamp", "a lamp");
    server.lease("lamp");
    a.put("lamp", TAGS, Article("a lamp".to_owned()), version).await;
    assert_eq!((server.stored("lamp"), server.is_leased("lamp")), (Some((1, true)), false));
    for cache in [&a, &b] {
        assert_eq!(text(cache, &source, "lamp").await, "a lamp");
    }
    assert_eq!((server.stored("lamp"), source.loads()), (Some((1, false)), 1));
    let version = source.commit("lamp", "new");
    a.put("lamp", TAGS, Article("new".to_owned()), version).await;
    assert_eq!((text(&b, &source, "lamp").await, source.loads()), ("new".to_owned(), 1));
}

#[tokio::test(start_paused = true)]
async fn ca_5_that_there_is_none_is_cached_over_the_tombstone_of_what_was_there() {
    let (server, a, b, source) = two().await;
    source.commit("lamp", "a lamp");
    text(&a, &source, "lamp").await;
    source.remove("lamp");
    a.invalidate("lamp", Some(2)).await;
    assert_eq!(server.stored("lamp"), Some((2, true)));
    for cache in [&a, &a, &b, &b] {
        assert_eq!(read(cache, &source, "lamp").await, Ok(None));
    }
    assert_eq!((server.stored("lamp"), source.loads()), (Some((2, false)), 2));
    assert_eq!((stats(&a).local_hits, stats(&b).local_hits), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn ca_4_a_load_that_fails_gives_its_lease_back() {
    let (server, a, b, source) = two().await;
    source.commit("lamp", "a lamp");
    for failure in [Failure::Wrong, Failure::Away] {
        source.fail(Some(failure));
        assert_eq!(read(&a, &source, "lamp").await, Err(failure));
        assert!(!server.is_leased("lamp"));
    }
    source.fail(None);
    let began = Instant::now();
    text(&b, &source, "lamp").await;
    assert_eq!((began.elapsed(), server.stored("lamp")), (Duration::ZERO, Some((1, false))));
}

#[tokio::test(start_paused = true)]
async fn ca_8_what_was_replaced_between_two_looks_does_not_stand_in() {
    let (server, source) = (Server::new(), Source::new());
    let options = CacheOptions { ttl: MS * 10, ..CacheOptions::default() };
    let (a, _) = process(&server, options.clone()).await;
    source.commit("lamp", "old");
    text(&a, &source, "lamp").await;
    // The times in the remote tier are those of the wall clock, which isn't paused.
    std::thread::sleep(MS * 15);
    source.fail(Some(Failure::Away));
    let (b, fake) = process(&server, options).await;
    let replaced = Arc::clone(&server);
    fake.before("acquire", move || replaced.plant("lamp", 2, b"T"));
    assert_eq!(read(&b, &source, "lamp").await, Err(Failure::Away));
    assert_eq!(stats(&b).stale, 0);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_another_process_does_loads_nothing_unless_somebody_waits_for_it() {
    let server = Server::new();
    let options = CacheOptions { ttl: MS * 10_000, ..CacheOptions::default() };
    for is_waited_for in [false, true] {
        let ((a, fake), source) = (process(&server, options.clone()).await, Source::new());
        let key = if is_waited_for { "waited" } else { "lamp" };
        source.commit(key, "a lamp");
        source.slow(MS * 900);
        text(&a, &source, key).await;
        source.slow(Duration::ZERO);
        server.plant(key, 1, b"noise");
        fake.slow(MS * 100);
        // Its last fifth, whatever the chance in its time.
        tokio::time::advance(MS * 8_000).await;
        server.lease(key);
        while stats(&a).refreshes == 0 {
            text(&a, &source, key).await;
            tokio::time::advance(MS).await;
        }
        if is_waited_for {
            assert_eq!(read_at(&a, &source, key, source.token()).await, Ok(Some("a lamp".to_owned())));
        } else {
            tokio::time::sleep(MS * 200).await;
        }
        assert_eq!(source.loads(), if is_waited_for { 2 } else { 1 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_history_replaces_nothing_in_the_remote_tier() {
    let (server, a, b, source) = two().await;
    source.commit("lamp", "a lamp");
    text(&a, &source, "lamp").await;
    let token = source.token();
    let other = Wanted::AtLeast(meshwork_cache::Position { history: 2, at: 0 });
    for loads in 2..=3 {
        assert_eq!(read_at(&b, &source, "lamp", other).await, Ok(Some("a lamp".to_owned())));
        assert_eq!((source.loads(), server.is_leased("lamp")), (loads, false));
    }
    assert_eq!(stats(&b).misses.get(&Miss::NotFresh), Some(&2));
    // What was loaded for the other one would cover this token.
    assert_eq!(read_at(&b, &source, "lamp", token).await, Ok(Some("a lamp".to_owned())));
    assert_eq!(source.loads(), 4);
}

#[tokio::test(start_paused = true)]
async fn ca_2_a_write_through_that_came_too_late_is_kept_nowhere() {
    let (server, a, b, source) = two().await;
    source.commit("lamp", "old");
    source.commit("lamp", "new");
    b.invalidate("lamp", Some(2)).await;
    a.put("lamp", TAGS, Article("old".to_owned()), 1).await;
    assert_eq!(server.stored("lamp"), Some((2, true)));
    assert_eq!(text(&a, &source, "lamp").await, "new");
}

#[tokio::test(start_paused = true)]
async fn ca_7_what_another_process_writes_drops_the_local_entry() {
    let (_, a, b, source) = two().await;
    source.commit("lamp", "old");
    text(&a, &source, "lamp").await;
    tokio::time::advance(MS * 20_000).await;
    assert_eq!(text(&a, &source, "lamp").await, "old");
    assert_eq!(stats(&a).local_hits, 1, "it is held for longer than a second, since changes are told");
    let version = source.commit("lamp", "new");
    b.put("lamp", TAGS, Article("new".to_owned()), version).await;
    assert_eq!(text(&a, &source, "lamp").await, "new");
    let version = source.commit("lamp", "newest");
    b.invalidate("lamp", Some(version)).await;
    assert_eq!(text(&a, &source, "lamp").await, "newest");
    assert_eq!(source.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn ca_7_without_tracking_an_entry_is_held_for_a_second() {
    let server = Server::new();
    let (a, fake) = process(&server, CacheOptions::default()).await;
    let source = Source::new();
    fake.track(false);
    source.commit("lamp", "a lamp");
    text(&a, &source, "lamp").await;
    tokio::time::advance(MS * 900).await;
    text(&a, &source, "lamp").await;
    tokio::time::advance(MS * 100).await;
    text(&a, &source, "lamp").await;
    assert_eq!((stats(&a).local_hits, stats(&a).remote_hits, source.loads()), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn ca_6_a_tag_and_a_kind_reach_the_other_process() {
    let (_, a, b, source) = two().await;
    source.commit("lamp", "a lamp");
    text(&a, &source, "lamp").await;
    text(&b, &source, "lamp").await;
    a.tiers().invalidate_tag("red", Some("lamp@1")).await;
    text(&b, &source, "lamp").await;
    text(&a, &source, "lamp").await;
    assert_eq!(source.loads(), 2);
    b.tiers().invalidate_tag("red", Some("lamp@1")).await;
    text(&a, &source, "lamp").await;
    assert_eq!(source.loads(), 2, "it is the same cause");
    b.tiers().invalidate_kind("articles").await;
    text(&a, &source, "lamp").await;
    text(&b, &source, "lamp").await;
    assert_eq!(source.loads(), 3);
}

#[tokio::test(start_paused = true)]
async fn ca_1_what_cannot_be_read_is_a_miss() {
    let (server, a, _, source) = two().await;
    for (key, envelope) in [
        ("empty", b"".as_slice()),
        ("codec", b"\x07\x00\x01".as_slice()),
        ("schema", b"\x00\x00\x02".as_slice()),
        ("noise", b"\x00\x00\x01\xff\xff\xff\xff".as_slice()),
    ] {
        source.commit(key, "a lamp");
        server.plant(key, 1, envelope);
        assert_eq!(text(&a, &source, key).await, "a lamp");
    }
    assert_eq!(stats(&a).misses.get(&Miss::Undecodable), Some(&4));
    assert_eq!((source.loads(), server.stored("noise")), (4, Some((1, false))));
}

#[tokio::test(start_paused = true)]
async fn ca_9_what_is_too_big_holds_up_nobody() {
    let (server, a, b, source) = two().await;
    source.commit("lamp", &"x".repeat((256 << 10) + 1));
    let began = Instant::now();
    for cache in [&a, &b, &a] {
        text(cache, &source, "lamp").await;
    }
    assert_eq!((source.loads(), server.stored("lamp")), (3, None));
    assert!(began.elapsed() < MS * 50, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_kept_leaves_a_tombstone() {
    let (server, a, b, _) = two().await;
    let of = |text: &str, keep| {
        let text = text.to_owned();
        move || {
            let value = Some(Article(text.clone()));
            let version = if keep { 1 } else { 2 };
            async move { Ok::<_, Failure>(Loaded { value, version, position: None, keep }) }
        }
    };
    a.read("anna", TAGS, Wanted::Recent, of("Anna", true)).await.unwrap();
    assert_eq!(server.stored("anna"), Some((1, false)));
    a.invalidate("anna", None).await;
    a.read("anna", TAGS, Wanted::Recent, of("", false)).await.unwrap();
    b.read("anna", TAGS, Wanted::Recent, of("", false)).await.unwrap();
    assert_eq!(server.stored("anna"), Some((2, true)));
    assert_eq!((stats(&a).local_entries, stats(&b).local_entries), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_served_by_what_was_loaded_after_it() {
    let (_, a, b, source) = two().await;
    source.commit("lamp", "old");
    text(&a, &source, "lamp").await;
    let version = source.commit("lamp", "new");
    a.put("lamp", TAGS, Article("new".to_owned()), version).await;
    let token = source.token();
    for cache in [&b, &a, &b, &a] {
        assert_eq!(read_at(cache, &source, "lamp", token).await, Ok(Some("new".to_owned())));
    }
    assert_eq!(source.loads(), 2, "the other process gets it from the remote tier");
    assert!(stats(&b).misses.contains_key(&Miss::NotFresh));
}

#[tokio::test(start_paused = true)]
async fn ca_8_what_the_remote_tier_has_stands_in_while_the_source_is_away() {
    let (server, source) = (Server::new(), Source::new());
    let options = CacheOptions { ttl: MS * 10, ..CacheOptions::default() };
    let (a, _) = process(&server, options.clone()).await;
    source.commit("lamp", "old");
    text(&a, &source, "lamp").await;
    // The times in the remote tier are those of the wall clock, which isn't paused.
    std::thread::sleep(MS * 15);
    source.fail(Some(Failure::Away));
    let (b, _) = process(&server, options).await;
    assert_eq!(text(&b, &source, "lamp").await, "old");
    assert_eq!(stats(&b).stale, 1);
    assert_eq!(read_at(&b, &source, "lamp", source.token()).await, Err(Failure::Away));
    b.invalidate("lamp", Some(2)).await;
    assert_eq!(read(&b, &source, "lamp").await, Err(Failure::Away));
}
