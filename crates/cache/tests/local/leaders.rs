//! CA-4: who looks for all others in the remote tier may be cancelled, or left alone.

use std::sync::Arc;
use std::time::Duration;

use meshwork_cache::CacheOptions;
use tokio::time::{Instant, timeout};

use crate::fake::{Server, process};
use crate::source::{Articles, Source, begin_read, read, text};

const MS: Duration = Duration::from_millis(1);

/// A process that has nothing in memory, over a remote tier that has a lamp and takes its time.
async fn slow_process() -> (Articles, Arc<Source>) {
    let (server, source) = (Server::new(), Source::new());
    let (other, _) = process(&server, CacheOptions::default()).await;
    source.commit("lamp", "a lamp");
    text(&other, &source, "lamp").await;
    let (cache, fake) = process(&server, CacheOptions::default()).await;
    fake.slow_gets(MS * 50);
    (cache, source)
}

#[tokio::test(start_paused = true)]
async fn ca_4_a_leader_that_is_cancelled_while_it_asks_the_remote_tier_cancels_no_follower() {
    let (cache, source) = slow_process().await;
    let leader = begin_read(&cache, &source, "lamp").await;
    let mut followers = Vec::new();
    for _ in 0..10 {
        followers.push(begin_read(&cache, &source, "lamp").await);
    }
    leader.abort();
    let began = Instant::now();
    for follower in followers {
        assert_eq!(follower.await.unwrap(), Ok(Some("a lamp".to_owned())));
    }
    assert!(began.elapsed() < MS * 60, "{:?}", began.elapsed());
    let stats = cache.tiers().stats().kinds.remove(0);
    assert_eq!((source.loads(), stats.remote_hits, stats.coalesced), (1, 1, 9), "one of them leads then");
}

#[tokio::test(start_paused = true)]
async fn ca_4_a_leader_that_is_left_alone_holds_up_nobody_for_long() {
    let (cache, source) = slow_process().await;
    let mut leader = Box::pin(read(&cache, &source, "lamp"));
    assert!(timeout(MS, &mut leader).await.is_err(), "it waits for the remote tier");
    let began = Instant::now();
    assert_eq!(text(&cache, &source, "lamp").await, "a lamp");
    assert!((200..300).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert_eq!(leader.await, Ok(Some("a lamp".to_owned())), "it goes on when it is waited for again");
    assert_eq!((source.loads(), cache.tiers().stats().kinds[0].remote_hits), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn ca_4_a_leader_that_is_cancelled_while_it_loads_cancels_no_follower() {
    let (cache, source) = slow_process().await;
    source.commit("sofa", "a sofa");
    source.slow(MS * 500);
    let leader = begin_read(&cache, &source, "sofa").await;
    let follower = begin_read(&cache, &source, "sofa").await;
    tokio::time::sleep(MS * 100).await;
    leader.abort();
    assert_eq!(follower.await.unwrap(), Ok(Some("a sofa".to_owned())));
    assert_eq!((source.loads(), cache.tiers().stats().kinds[0].loads), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn ca_2_what_was_invalidated_while_it_was_looked_up_is_not_kept() {
    let (cache, source) = slow_process().await;
    let slow = begin_read(&cache, &source, "lamp").await;
    let version = source.commit("lamp", "new");
    cache.invalidate("lamp", Some(version)).await;
    assert_eq!(text(&cache, &source, "lamp").await, "new");
    slow.await.unwrap().unwrap();
    assert_eq!(text(&cache, &source, "lamp").await, "new");
}
