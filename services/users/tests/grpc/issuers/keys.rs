//! The keys of other issuers: where they come from, how they change, and what their servers may do.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use meshwork_chassis::CancellationToken;
use meshwork_users::adapters::Issuers;
use meshwork_users::ports::{ForeignTokenError, ForeignTokens};
use serde_json::json;
use tonic::Code;

use super::provider::{Mood, Provider, Signer};
use super::{exchange, world};
use crate::world::{eventually, refused};

/// Lets time pass, in which connections do nothing.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn keys_are_found_by_discovery_or_where_the_settings_say() {
    let provider = Provider::start().await;
    let stated = provider.settings(&json!({ "issuer": "accounts", "jwks_url": format!("{}/keys", provider.issuer) }));
    let issuers = Issuers::new(&[provider.settings(&json!({})), stated]).unwrap();
    assert_eq!(issuers.verify(&provider.token("anna")).await.unwrap().issuer, provider.issuer);
    let asked = provider.asked();
    assert_eq!(asked, 2, "the document and the keys");
    let token = provider.token_with("anna", &json!({ "iss": "accounts" }));
    assert_eq!(issuers.verify(&token).await.unwrap().issuer, "accounts");
    assert_eq!(provider.asked(), asked + 1);
}

#[tokio::test]
async fn servers_are_known_by_the_authorities_that_the_settings_name() {
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("authority.pem");
    let provider = Provider::start_tls(&authority).await;
    let trusting = Issuers::new(&[provider.settings(&json!({ "ca": authority }))]).unwrap();
    assert_eq!(trusting.verify(&provider.token("anna")).await.unwrap().subject, "anna");
    let strict = Issuers::new(&[provider.settings(&json!({}))]).unwrap();
    assert_eq!(strict.verify(&provider.token("anna")).await, Err(ForeignTokenError::KeysUnavailable));
    for (text, is_there) in [("", true), ("no certificate", true), ("", false)] {
        let file = folder.path().join(if is_there { "other.pem" } else { "missing.pem" });
        if is_there {
            std::fs::write(&file, text).unwrap();
        }
        let Err(error) = Issuers::new(&[provider.settings(&json!({ "ca": file }))]) else {
            panic!("{text:?} is taken")
        };
        assert!(error.sentence.starts_with("users.issuers[0]: "), "{error}");
    }
}

#[tokio::test]
async fn new_keys_are_asked_for_and_withdrawn_ones_end() {
    let provider = Provider::start().await;
    let issuers = Arc::new(Issuers::new(&[provider.settings(&json!({}))]).unwrap());
    let (stop, fresh) = (CancellationToken::new(), issuers.clone());
    let kept = tokio::spawn({
        let stop = stop.clone();
        async move { fresh.keep_fresh(stop).await }
    });
    let old = provider.token("anna");
    eventually("the first keys", async || issuers.verify(&old).await.is_ok()).await;

    let new = Signer::p256("second");
    provider.publish([&provider.signer, &new]);
    let token = new.sign(&provider.claims("anna", &json!({})));
    pass(Duration::from_secs(11)).await;
    issuers.verify(&token).await.expect("its key is asked for");
    issuers.verify(&old).await.expect("the old key goes on");

    provider.set(Mood::Fails);
    let asked = provider.asked();
    pass(Duration::from_secs(300)).await;
    eventually("a fetch that fails", async || provider.asked() > asked).await;
    for token in [&old, &token] {
        issuers.verify(token).await.expect("keys outlive an outage");
    }

    provider.set(Mood::Answers);
    provider.publish([&new]);
    pass(Duration::from_secs(300)).await;
    eventually("the end of the old key", async || issuers.verify(&old).await.is_err()).await;
    issuers.verify(&token).await.expect("the new key goes on");
    stop.cancel();
    kept.await.unwrap();
}

#[tokio::test]
async fn what_is_no_key_is_passed_over() {
    let provider = Provider::start().await;
    let strange = json!([
        provider.signer.public(), 7, null, { "kty": "oct", "kid": "hmac", "k": "c2VjcmV0" }, { "kty": "lattice", "kid": "x" },
        { "kid": "none" }, { "kty": "RSA", "kid": "weak", "n": "AQAB", "e": "AQAB" },
        { "kty": "EC", "crv": "secp256k1", "kid": "k1", "x": "AA", "y": "AA" },
    ]);
    provider.set(Mood::Publishes(json!({ "keys": strange, "more": {} }).to_string()));
    let issuers = Issuers::new(&[provider.settings(&json!({}))]).unwrap();
    issuers.verify(&provider.token("anna")).await.unwrap();
}

#[tokio::test]
async fn a_server_that_misbehaves_keeps_up_nobody() {
    let honest = Provider::start().await;
    let elsewhere = format!("{}/keys", honest.issuer);
    let says = |issuer: &str, keys: &str| Mood::Says(json!({ "issuer": issuer, "jwks_uri": keys }));
    let (mut providers, mut wrong) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        providers.push(Provider::start().await);
    }
    let key = providers[0].signer.public();
    let (other, slash) = (honest.issuer.as_str(), format!("{}/", providers[1].issuer));
    let own = |at: usize| providers[at].issuer.clone();
    let moods = [
        ("lies about who it is", says(other, &elsewhere)),
        ("is nearly who it is", says(&slash, &elsewhere)),
        ("sends to a host in the clear", says(&own(2), "http://keys.example/keys")),
        ("sends to a file", says(&own(3), "file:///etc/keys.json")),
        ("redirects", Mood::Redirects(elsewhere.clone())),
        ("fails", Mood::Fails),
        ("hangs", Mood::Hangs),
        ("publishes too much", Mood::Publishes(format!("{{\"keys\": [{}{key}]}}", " ".repeat(512 * 1024)))),
        ("publishes too many", Mood::Publishes(json!({ "keys": vec![&key; 101] }).to_string())),
        ("publishes no JSON", Mood::Publishes("<html>".to_owned())),
    ];
    for (provider, (what, mood)) in providers.iter().zip(moods) {
        provider.set(mood);
        wrong.push((provider, what));
    }
    let settings = providers.iter().chain([&honest]).map(|provider| provider.settings(&json!({}))).collect();
    let world = world(settings).await;
    exchange(&world, &honest.token("anna")).await.expect("the others are nothing to it");
    let asked = honest.asked();
    let (world, wrong) = (&world, &wrong);
    join_all(wrong.iter().map(async |(provider, what)| {
        let exchanged = exchange(world, &provider.token("anna")).await;
        let status = refused(exchanged, Code::Unavailable, "KEYS_UNAVAILABLE");
        assert!(!status.message().contains(&provider.issuer), "{what}: {status}");
    }))
    .await;
    assert_eq!(honest.asked(), asked, "nobody is sent to it");
    join_all(wrong.iter().map(async |(provider, what)| {
        provider.set(Mood::Answers);
        let recovers = async || exchange(world, &provider.token("anna")).await.is_ok();
        eventually(&format!("the end of: {what}"), recovers).await;
    }))
    .await;
}
