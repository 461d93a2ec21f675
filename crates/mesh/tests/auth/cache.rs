//! Tokens that were verified before.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use meshwork::server::auth::jwt::{JwtAuthenticator, TokenError};
use meshwork::server::auth::{Authenticated, Authenticator as _, Principal};
use serde_json::json;
use tokio::time::{advance, timeout};
use tonic::Code;

use crate::issuer::{LIFE, SKEW, Signer, Source, builder, one_key};

/// Settings that count the tokens that were verified.
fn counted(source: &Source) -> (JwtAuthenticator, Arc<AtomicUsize>, usize) {
    sized(source, 10_000)
}

fn sized(source: &Source, capacity: usize) -> (JwtAuthenticator, Arc<AtomicUsize>, usize) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let builder = builder(source).cache(capacity).principal(move |claims| {
        counter.fetch_add(1, Ordering::SeqCst);
        claims.principal()
    });
    (builder.build(), count, capacity)
}

fn bearing(token: &str) -> HeaderMap {
    let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    [(header::AUTHORIZATION, value)].into_iter().collect()
}

#[tokio::test(start_paused = true)]
async fn a_token_is_verified_once_and_then_answered_at_once() {
    let (source, signer) = one_key();
    let (authenticator, count, _) = counted(&source);
    let headers = bearing(&signer.good());
    // The first one fetches the keys.
    let Authenticated::Later(first) = authenticator.authenticate(&headers, None) else { panic!("keys from nowhere") };
    let anna = first.await.unwrap();
    for _ in 0..10 {
        let Authenticated::Now(again) = authenticator.authenticate(&headers, None) else { panic!("not cached") };
        assert_eq!(again.unwrap(), anna);
    }
    assert_eq!((count.load(Ordering::SeqCst), source.fetches()), (1, 1));
    // A clone with another domain has the same cache.
    let other = authenticator.with_domain(meshwork::server::Domain::new("other"));
    assert!(matches!(other.authenticate(&headers, None), Authenticated::Now(Ok(Some(_)))));
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn s5_what_is_recalled_costs_no_signature() {
    let (source, signer) = one_key();
    let (authenticator, count, _) = counted(&source);
    let recall = |headers: &HeaderMap| authenticator.recall(headers, None);
    assert!(matches!(recall(&HeaderMap::new()), Some(Ok(None))));
    for malformed in ["", "nonsense", "a.b", "a.b.c.d"] {
        let refused = recall(&bearing(malformed)).unwrap().unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{malformed}");
    }
    let token = signer.good();
    let (good, forged) = (bearing(&token), bearing(&Signer::ed25519("first", 2).good()));
    assert!(recall(&good).is_none() && recall(&forged).is_none());
    assert_eq!((count.load(Ordering::SeqCst), source.fetches()), (0, 0), "nobody was asked");
    authenticator.verify(&token).await.unwrap();
    assert_eq!(recall(&good).unwrap().unwrap(), Some(Principal::new("users/anna", ["customer"])));
    assert!(recall(&forged).is_none());
    assert_eq!(count.load(Ordering::SeqCst), 1);
    advance(Duration::from_secs(LIFE + SKEW)).await;
    assert!(recall(&good).is_none(), "it has expired");
}

#[tokio::test(start_paused = true)]
async fn a_token_expires_while_it_is_cached() {
    let (source, signer) = one_key();
    let (authenticator, count, _) = counted(&source);
    let token = signer.good();
    authenticator.verify(&token).await.unwrap();
    advance(Duration::from_secs(LIFE + SKEW - 1)).await;
    assert!(authenticator.verify(&token).await.is_ok());
    assert_eq!(count.load(Ordering::SeqCst), 1);
    advance(Duration::from_secs(1)).await;
    assert_eq!(authenticator.verify(&token).await, Err(TokenError::Expired));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_token_is_never_taken_for_a_cached_one() {
    let (source, signer) = one_key();
    let (authenticator, ..) = counted(&source);
    let good = signer.good();
    authenticator.verify(&good).await.unwrap();
    let staff = signer.token(&json!({ "role": "staff" }));
    // The claims of one under the signature of the other.
    let forged = format!("{}.{}", staff.rsplit_once('.').unwrap().0, good.rsplit_once('.').unwrap().1);
    for _ in 0..3 {
        assert_eq!(authenticator.verify(&forged).await, Err(TokenError::Invalid));
    }
    assert!(authenticator.verify(&good).await.is_ok());
    assert_eq!(authenticator.cached(), 1);
    // One that differs in its last bits alone, which base64 leaves unused, is another token.
    for last in ["A", "B", "Q", "g", "w"] {
        let other = format!("{}{last}", &good[..good.len() - 1]);
        assert!(other == good || authenticator.verify(&other).await == Err(TokenError::Invalid), "{last}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_cache_is_bounded_and_keeps_what_is_used() {
    let (source, signer) = one_key();
    let (authenticator, count, capacity) = sized(&source, 64);
    let used = signer.good();
    authenticator.verify(&used).await.unwrap();
    for user in 0..300 {
        let token = signer.token(&json!({ "sub": format!("users/u{user}") }));
        authenticator.verify(&token).await.unwrap();
        authenticator.verify(&used).await.unwrap();
        assert!(authenticator.cached() <= capacity, "{}", authenticator.cached());
    }
    assert_eq!(count.load(Ordering::SeqCst), 301, "the token in use was verified once");
}

#[tokio::test(start_paused = true)]
async fn without_a_cache_each_call_is_verified() {
    let (source, signer) = one_key();
    let (authenticator, count, _) = sized(&source, 0);
    for _ in 0..3 {
        authenticator.verify(&signer.good()).await.unwrap();
    }
    assert_eq!((count.load(Ordering::SeqCst), authenticator.cached()), (3, 0));
}

/// An authenticator whose first verification stops in its middle until it is told to go on, or to panic.
async fn held(
    source: &Source,
    panics: bool,
) -> (JwtAuthenticator, mpsc::Receiver<()>, mpsc::Sender<()>, Arc<AtomicUsize>) {
    let (entered, has_entered) = mpsc::channel();
    let (go_on, told) = mpsc::channel::<()>();
    let (told, count) = (Mutex::new(told), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&count);
    let authenticator = builder(source)
        .principal(move |claims| {
            if counter.fetch_add(1, Ordering::SeqCst) == 0 {
                entered.send(()).unwrap();
                told.lock().unwrap().recv().unwrap();
                assert!(!panics, "told to panic");
            }
            claims.principal()
        })
        .build();
    // Fetches the keys.
    assert_eq!(authenticator.verify(&Signer::ed25519("unknown", 9).good()).await, Err(TokenError::Invalid));
    (authenticator, has_entered, go_on, count)
}

#[tokio::test]
async fn a_token_that_comes_twice_at_the_same_time_is_verified_once() {
    let (source, signer) = one_key();
    let (authenticator, has_entered, go_on, count) = held(&source, false).await;
    let headers = bearing(&signer.good());
    let first = {
        let (authenticator, headers) = (authenticator.clone(), headers.clone());
        std::thread::spawn(move || {
            matches!(authenticator.authenticate(&headers, None), Authenticated::Now(Ok(Some(_))))
        })
    };
    has_entered.recv_timeout(Duration::from_secs(30)).unwrap();
    let Authenticated::Later(second) = authenticator.authenticate(&headers, None) else { panic!("did not wait") };
    // Another token waits for nobody.
    let other = bearing(&signer.token(&json!({ "sub": "users/bert" })));
    assert!(matches!(authenticator.authenticate(&other, None), Authenticated::Now(Ok(Some(_)))));
    go_on.send(()).unwrap();
    let second = timeout(Duration::from_secs(30), second).await.unwrap().unwrap();
    assert_eq!(second, Some(Principal::new("users/anna", ["customer"])));
    assert!(first.join().unwrap());
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn who_waits_for_a_verification_that_fails_without_a_word_verifies_anew() {
    let (source, signer) = one_key();
    let (authenticator, has_entered, go_on, count) = held(&source, true).await;
    let headers = bearing(&signer.good());
    let first = {
        let (authenticator, headers) = (authenticator.clone(), headers.clone());
        std::thread::spawn(move || {
            matches!(authenticator.authenticate(&headers, None), Authenticated::Now(Ok(Some(_))))
        })
    };
    has_entered.recv_timeout(Duration::from_secs(30)).unwrap();
    let Authenticated::Later(second) = authenticator.authenticate(&headers, None) else { panic!("did not wait") };
    go_on.send(()).unwrap();
    let second = timeout(Duration::from_secs(30), second).await.unwrap().unwrap();
    assert_eq!(second, Some(Principal::new("users/anna", ["customer"])));
    assert!(first.join().is_err(), "it has panicked");
    assert_eq!(count.load(Ordering::SeqCst), 2);
    // Nothing is left of it.
    assert!(matches!(authenticator.authenticate(&headers, None), Authenticated::Now(Ok(Some(_)))));
}
