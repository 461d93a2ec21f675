//! Which tokens of other issuers are refused.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use meshwork_users::adapters::Issuers;
use meshwork_users::domain::Role;
use meshwork_users::ports::{ForeignTokenError, ForeignTokens};
use serde_json::{Value, json};
use tonic::Code;

use super::provider::{AUDIENCE, Provider, Signer, now};
use super::{exchange, world};
use crate::world::{refused, refused_fields};

async fn is_refused(issuers: &Issuers, token: &str, what: &str) {
    assert_eq!(issuers.verify(token).await, Err(ForeignTokenError::Invalid), "{what}");
}

#[tokio::test]
async fn claims_must_be_right() {
    let provider = Provider::start().await;
    let issuers = Issuers::new(&[provider.settings(&json!({ "audiences": ["desk", AUDIENCE] }))]).unwrap();
    for right in [
        json!({}),
        json!({ "aud": "desk" }),
        json!({ "aud": ["other", AUDIENCE] }),
        json!({ "nbf": now() }),
        json!({ "exp": now() - 2 }),
        json!({ "iat": now() + 3 }),
        json!({ "sub": "a".repeat(255) }),
    ] {
        issuers.verify(&provider.token_with("anna", &right)).await.unwrap_or_else(|error| panic!("{right}: {error}"));
    }
    let later = now() + 60;
    for wrong in [
        json!({ "aud": "other" }),
        json!({ "aud": ["other"] }),
        json!({ "aud": null }),
        json!({ "iss": "https://other.example" }),
        json!({ "iss": format!("{}/", provider.issuer) }),
        json!({ "iss": [provider.issuer] }),
        json!({ "iss": null }),
        json!({ "exp": now() - 60 }),
        json!({ "exp": null }),
        json!({ "exp": "tomorrow" }),
        json!({ "nbf": later }),
        json!({ "iat": later }),
        json!({ "sub": null }),
        json!({ "sub": "" }),
        json!({ "sub": 7 }),
        json!({ "sub": "a".repeat(256) }),
        json!({ "events": { "http://schemas.openid.net/event/backchannel-logout": {} } }),
        json!({ "padding": "a".repeat(8192) }),
    ] {
        is_refused(&issuers, &provider.token_with("anna", &wrong), &wrong.to_string()).await;
    }
}

#[tokio::test]
async fn what_is_verified_is_who_it_is() {
    let provider = Provider::start().await;
    let settings = provider.settings(&json!({ "roles": { "anna": "staff" }, "create_accounts": false }));
    let issuers = Issuers::new(&[settings]).unwrap();
    let ends = now() + 100;
    for (subject, role, may_create) in [("anna", Role::Staff, true), ("bert", Role::Customer, false)] {
        let identity = issuers.verify(&provider.token_with(subject, &json!({ "exp": ends }))).await.unwrap();
        assert_eq!((identity.issuer.as_str(), identity.subject.as_str()), (provider.issuer.as_str(), subject));
        assert_eq!((identity.role, identity.may_create), (role, may_create));
        assert_eq!(identity.expire_time.unix_timestamp(), i64::try_from(ends).unwrap());
    }
}

#[tokio::test]
async fn what_a_header_chooses_is_refused() {
    let provider = Provider::start().await;
    let (pinned, other) = (Signer::p256("pinned"), Signer::p384("other"));
    provider.publish([&provider.signer, &pinned, &other]);
    let issuers = Issuers::new(&[provider.settings(&json!({ "algorithms": ["ES256"] }))]).unwrap();
    let claims = provider.claims("anna", &json!({}));
    let header = |algorithm: &str| json!({ "alg": algorithm, "kid": pinned.id() });
    issuers.verify(&pinned.sign_as(&header("ES256"), &claims)).await.expect("what the wrong ones are like is good");

    let unsigned = |header: &Value| {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.", part(header), part(&claims))
    };
    for algorithm in ["none", "None", "", "RS256", "ES384", "EdDSA", "HS256"] {
        is_refused(&issuers, &pinned.sign_as(&header(algorithm), &claims), algorithm).await;
        is_refused(&issuers, &unsigned(&header(algorithm)), algorithm).await;
    }
    // The classic: the public key, taken for the secret of an HMAC.
    let public = pinned.public();
    let x = public["x"].as_str().unwrap();
    for secret in [x.as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(x).unwrap(), public.to_string().into_bytes()] {
        let header = Header { kid: Some(pinned.id().to_owned()), ..Header::new(Algorithm::HS256) };
        let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&secret)).unwrap();
        is_refused(&issuers, &token, "HMAC by the public key").await;
    }
    is_refused(&issuers, &other.sign(&claims), "an algorithm that isn't pinned").await;
    let stranger = Signer::p256(pinned.id());
    is_refused(&issuers, &stranger.sign(&claims), "another key with the same id").await;
    let with_key = json!({ "alg": "ES256", "kid": "theirs", "jwk": stranger.public() });
    is_refused(&issuers, &stranger.sign_as(&with_key, &claims), "a key that comes with the token").await;
    is_refused(&issuers, &pinned.sign_as(&json!({ "alg": "ES256" }), &claims), "no key id").await;
    let critical = json!({ "alg": "ES256", "kid": pinned.id(), "crit": ["exp"], "exp": 1 });
    is_refused(&issuers, &pinned.sign_as(&critical, &claims), "an extension that must be understood").await;

    let good = pinned.sign(&claims);
    let parts: Vec<_> = good.split('.').collect();
    let others = URL_SAFE_NO_PAD.encode(provider.claims("bert", &json!({})).to_string());
    is_refused(&issuers, &[parts[0], &others, parts[2]].join("."), "other claims under a good signature").await;
    for garbage in ["", ".", "..", "a.b.c", "a.b.c.d", "🦀", &format!("{good}.x"), &"a.".repeat(5000)] {
        is_refused(&issuers, garbage, garbage).await;
    }
}

#[tokio::test]
async fn a_key_that_nobody_has_costs_the_issuer_one_question() {
    let provider = Provider::start().await;
    let issuers = Issuers::new(&[provider.settings(&json!({}))]).unwrap();
    issuers.verify(&provider.token("anna")).await.unwrap();
    let asked = provider.asked();
    for number in 0..20 {
        let token = Signer::p256(&format!("invented-{number}")).sign(&provider.claims("anna", &json!({})));
        is_refused(&issuers, &token, "an unknown key").await;
    }
    assert_eq!(provider.asked(), asked, "the floor has not passed");
}

#[tokio::test]
async fn callers_read_one_refusal() {
    let provider = Provider::start().await;
    let world = world(vec![provider.settings(&json!({}))]).await;
    let anna = world.customer().await;
    // Ours are no tokens of another issuer.
    for token in
        [anna.session.access_token.as_str(), "garbage", &provider.token_with("anna", &json!({ "aud": "other" }))]
    {
        let status = refused(exchange(&world, token).await, Code::Unauthenticated, "TOKEN_NOT_EXCHANGED");
        assert!(!status.message().contains(token));
    }
    refused_fields(exchange(&world, "").await, &["subject_token"]);
    refused_fields(exchange(&world, &"a".repeat(8193)).await, &["subject_token"]);
}
