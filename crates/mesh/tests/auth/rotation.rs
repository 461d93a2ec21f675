//! Keys that come and go, and a source that doesn't answer.

use std::time::Duration;

use futures_util::future::join_all;
use meshwork::server::auth::jwt::TokenError;
use tokio::time::{Instant, advance, timeout};

use crate::issuer::{Mood, Signer, Source, builder, one_key};

const SECOND: Duration = Duration::from_secs(1);
const FLOOR: Duration = Duration::from_secs(5);

#[tokio::test(start_paused = true)]
async fn a_token_of_a_new_key_verifies_at_once_and_the_old_ones_go_on() {
    let (source, old) = one_key();
    let authenticator = builder(&source).build();
    authenticator.verify(&old.good()).await.unwrap();
    let new = Signer::ed25519("second", 2);
    source.publish([&new, &old]);
    advance(FLOOR).await;
    assert!(authenticator.verify(&new.good()).await.is_ok());
    assert_eq!(source.fetches(), 2);
    assert_eq!(authenticator.cached(), 2);
    assert!(authenticator.verify(&old.good()).await.is_ok());
    assert_eq!(source.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_key_ends_the_tokens_that_are_cached() {
    let (source, old) = one_key();
    let new = Signer::ed25519("second", 2);
    source.publish([&new, &old]);
    let authenticator = builder(&source).refresh_interval(60 * SECOND).build();
    let fresh = authenticator.clone();
    let task = tokio::spawn(async move { fresh.keep_fresh().await });
    authenticator.ready().await;
    authenticator.verify(&old.good()).await.unwrap();
    authenticator.verify(&new.good()).await.unwrap();
    source.publish([&new]);
    tokio::time::sleep(59 * SECOND).await;
    assert!(authenticator.verify(&old.good()).await.is_ok(), "nobody has said that the key is withdrawn");
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(authenticator.verify(&old.good()).await, Err(TokenError::Invalid));
    assert!(authenticator.verify(&new.good()).await.is_ok());
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_key_that_changed_under_its_id_ends_the_tokens_of_the_old_one() {
    let (source, old) = one_key();
    let authenticator = builder(&source).build();
    authenticator.verify(&old.good()).await.unwrap();
    let new = Signer::ed25519("first", 2);
    source.publish([&new]);
    advance(FLOOR).await;
    // Any unknown id makes it look.
    assert_eq!(authenticator.verify(&Signer::ed25519("unknown", 3).good()).await, Err(TokenError::Invalid));
    assert_eq!(authenticator.verify(&old.good()).await, Err(TokenError::Invalid));
    assert!(authenticator.verify(&new.good()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn keys_and_cached_tokens_outlive_an_outage_of_their_source() {
    let (source, signer) = one_key();
    let authenticator = builder(&source).refresh_interval(60 * SECOND).build();
    let fresh = authenticator.clone();
    let task = tokio::spawn(async move { fresh.keep_fresh().await });
    authenticator.ready().await;
    authenticator.verify(&signer.good()).await.unwrap();
    let unseen = signer.token(&serde_json::json!({ "sub": "users/bert" }));
    for mood in [Mood::Fails, Mood::Hangs, Mood::Panics] {
        source.set(mood);
        let before = source.fetches();
        tokio::time::sleep(120 * SECOND).await;
        assert!(source.fetches() > before, "it goes on asking");
        assert!(authenticator.verify(&signer.good()).await.is_ok());
        assert!(authenticator.verify(&unseen).await.is_ok());
    }
    source.set(Mood::Answers);
    // A source that publishes nothing is one with a fault, too.
    source.publish([]);
    tokio::time::sleep(120 * SECOND).await;
    assert!(authenticator.verify(&signer.good()).await.is_ok());
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn without_keys_tokens_are_unavailable_and_keys_are_asked_for_until_they_are_there() {
    let (source, signer) = one_key();
    source.set(Mood::Fails);
    let authenticator = builder(&source).build();
    let fresh = authenticator.clone();
    let task = tokio::spawn(async move { fresh.keep_fresh().await });
    assert_eq!(authenticator.verify(&signer.good()).await, Err(TokenError::KeysUnavailable));
    assert!(!authenticator.has_keys());
    assert!(timeout(60 * SECOND, authenticator.ready()).await.is_err());
    // Not more often than every two seconds in the end.
    assert!((20..=40).contains(&source.fetches()), "{}", source.fetches());
    source.set(Mood::Answers);
    timeout(2 * SECOND, authenticator.ready()).await.unwrap();
    assert!(authenticator.verify(&signer.good()).await.is_ok());
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_invented_key_ids_makes_one_fetch() {
    let (source, signer) = one_key();
    let authenticator = builder(&source).build();
    authenticator.verify(&signer.good()).await.unwrap();
    advance(FLOOR).await;
    let invented: Vec<_> = (0..200).map(|at| Signer::ed25519(&format!("k{at}"), 7).good()).collect();
    for refused in join_all(invented.iter().map(|token| authenticator.verify(token))).await {
        assert_eq!(refused, Err(TokenError::Invalid));
    }
    assert_eq!(source.fetches(), 2);
    advance(FLOOR - SECOND).await;
    assert_eq!(authenticator.verify(&invented[0]).await, Err(TokenError::Invalid));
    assert_eq!(source.fetches(), 2);
    advance(SECOND).await;
    assert_eq!(authenticator.verify(&invented[0]).await, Err(TokenError::Invalid));
    assert_eq!(source.fetches(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_hangs_is_bounded_and_shared_by_all_who_wait() {
    let source = Source::default();
    source.set(Mood::Hangs);
    let authenticator = builder(&source).build();
    let tokens: Vec<_> = (0..50).map(|at| Signer::ed25519(&format!("k{at}"), 7).good()).collect();
    let start = Instant::now();
    for refused in join_all(tokens.iter().map(|token| authenticator.verify(token))).await {
        assert_eq!(refused, Err(TokenError::KeysUnavailable));
    }
    assert_eq!((start.elapsed(), source.fetches()), (FLOOR, 1));
    // The floor counts from the end of a fetch that took as long as the floor.
    assert_eq!(authenticator.verify(&tokens[0]).await, Err(TokenError::KeysUnavailable));
    assert_eq!((start.elapsed(), source.fetches()), (FLOOR, 1));
}

#[tokio::test(start_paused = true)]
async fn invented_keys_hold_up_neither_good_tokens_nor_the_source() {
    let (source, signer) = one_key();
    let authenticator = builder(&source).build();
    let (first, second) = (signer.good(), signer.token(&serde_json::json!({ "sub": "users/bert" })));
    authenticator.verify(&first).await.unwrap();
    source.set(Mood::Hangs);
    advance(FLOOR).await;
    let start = Instant::now();
    let invented = Signer::ed25519("invented", 7).good();
    // Callers that go away don't begin a fetch each.
    for _ in 0..4 {
        assert!(timeout(SECOND, authenticator.verify(&invented)).await.is_err());
    }
    assert_eq!(source.fetches(), 2);
    // A key at hand is found at once, whatever is under way.
    authenticator.verify(&first).await.unwrap();
    authenticator.verify(&second).await.unwrap();
    assert_eq!(start.elapsed(), 4 * SECOND);
    assert_eq!(authenticator.verify(&invented).await, Err(TokenError::Invalid));
    assert_eq!((start.elapsed(), source.fetches()), (FLOOR, 2));
}
