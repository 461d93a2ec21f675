//! Which tokens verify, and which don't.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header};
use meshwork::server::auth::Principal;
use meshwork::server::auth::jwt::{Algorithm, Jwk, TokenError};
use serde_json::{Value, json};

use crate::issuer::{AUDIENCE, BEGIN, ISSUER, LIFE, SKEW, Signer, Source, at, builder, one_key};

fn jwk(value: Value) -> Jwk {
    serde_json::from_value(value).unwrap()
}

/// A token of these parts, whatever they are.
fn token(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(header), part(claims), URL_SAFE_NO_PAD.encode(signature))
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "users/anna", "exp": BEGIN + LIFE })
}

#[tokio::test(start_paused = true)]
async fn a_good_token_gives_its_principal() {
    let (source, signer) = one_key();
    let authenticator = builder(&source).build();
    let anna = Principal::new("users/anna", ["customer"]);
    assert_eq!(authenticator.verify(&signer.good()).await, Ok(anna));
}

#[tokio::test(start_paused = true)]
async fn keys_of_every_kind_verify_their_tokens() {
    let (source, ed25519, p256) = (Source::default(), Signer::ed25519("ed", 1), Signer::p256("ec"));
    // Made once by openssl; the private half was thrown away.
    let mut lines = include_str!("rsa.txt").lines();
    let (modulus, rsa_token) = (lines.next().unwrap(), lines.next().unwrap());
    let rsa = jwk(json!({ "kty": "RSA", "kid": "rsa", "alg": "RS256", "n": modulus, "e": "AQAB" }));
    source.publish_keys([ed25519.jwk.clone(), p256.jwk.clone(), rsa]);
    let all = [Algorithm::EdDSA, Algorithm::ES256, Algorithm::RS256];
    let authenticator = builder(&source).algorithms(all).build();
    for token in [&ed25519.good(), &p256.good(), rsa_token] {
        assert!(authenticator.verify(token).await.is_ok(), "{token}");
    }
    let mut forged = rsa_token.to_owned();
    forged.replace_range(rsa_token.len() - 40..rsa_token.len() - 39, "-");
    assert_ne!(forged, rsa_token);
    assert_eq!(authenticator.verify(&forged).await, Err(TokenError::Invalid));
    // A key of another kind than those that were pinned isn't used, though its issuer publishes it.
    let only_ed25519 = builder(&source).build();
    assert!(only_ed25519.verify(&ed25519.good()).await.is_ok());
    assert_eq!(only_ed25519.verify(&p256.good()).await, Err(TokenError::Invalid));
    assert_eq!(only_ed25519.verify(rsa_token).await, Err(TokenError::Invalid));
}

#[tokio::test(start_paused = true)]
async fn an_algorithm_that_the_header_chooses_is_refused() {
    let (source, signer) = one_key();
    let authenticator = builder(&source).build();
    let public = serde_json::to_value(&signer.jwk).unwrap()["x"].as_str().unwrap().to_owned();
    let raw = URL_SAFE_NO_PAD.decode(&public).unwrap();
    // The classic: the public key, taken for the secret of an HMAC.
    for secret in [raw.as_slice(), public.as_bytes()] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let header = Header { kid: Some("first".to_owned()), ..Header::new(algorithm) };
            let token = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(secret)).unwrap();
            assert_eq!(authenticator.verify(&token).await, Err(TokenError::Invalid), "{algorithm:?}");
        }
    }
    for none in ["none", "None", "NONE", "", "ES256", "RS256"] {
        for signature in [&[][..], &[0; 64]] {
            let token = token(&json!({ "alg": none, "kid": "first" }), &claims(), signature);
            assert_eq!(authenticator.verify(&token).await, Err(TokenError::Invalid), "{none}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn hmac_is_refused_even_if_it_is_pinned_and_published() {
    let (source, signer) = one_key();
    let secret = jwk(json!({ "kty": "oct", "kid": "secret", "alg": "HS256", "k": "AAAA" }));
    source.publish_keys([secret, signer.jwk.clone()]);
    let authenticator = builder(&source).algorithms([Algorithm::HS256, Algorithm::EdDSA]).build();
    let header = Header { kid: Some("secret".to_owned()), ..Header::new(Algorithm::HS256) };
    let token = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(&[0; 3])).unwrap();
    assert_eq!(authenticator.verify(&token).await, Err(TokenError::Invalid));
    assert!(authenticator.verify(&signer.good()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn keys_for_another_use_or_algorithm_are_left_out() {
    let (source, signer) = one_key();
    let mut encryption = serde_json::to_value(&signer.jwk).unwrap();
    encryption["use"] = "enc".into();
    let ec = Signer::p256("ec");
    let mut other = serde_json::to_value(&ec.jwk).unwrap();
    other["alg"] = "ES384".into();
    source.publish_keys([jwk(encryption), jwk(other), Signer::ed25519("usable", 2).jwk]);
    let authenticator = builder(&source).algorithms([Algorithm::EdDSA, Algorithm::ES256]).build();
    assert_eq!(authenticator.verify(&signer.good()).await, Err(TokenError::Invalid));
    assert_eq!(authenticator.verify(&ec.good()).await, Err(TokenError::Invalid));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_comes_with_the_token_is_not_looked_at() {
    let (source, _) = one_key();
    let authenticator = builder(&source).build();
    let own = Signer::ed25519("first", 9);
    // Its own key under the id of ours, and offered in the header too.
    assert_eq!(authenticator.verify(&own.good()).await, Err(TokenError::Invalid));
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some("first".to_owned());
    header.jwk = Some(own.jwk.clone());
    header.jku = Some("https://evil.example.com/keys".to_owned());
    let signed = own.good();
    let signature = URL_SAFE_NO_PAD.decode(signed.rsplit('.').next().unwrap()).unwrap();
    let forged = token(&serde_json::to_value(&header).unwrap(), &claims(), &signature);
    assert_eq!(authenticator.verify(&forged).await, Err(TokenError::Invalid));
}

#[tokio::test(start_paused = true)]
async fn rsa_keys_that_are_too_short_or_too_long_are_left_out() {
    let ed25519 = Signer::ed25519("ed", 1);
    let mut lines = include_str!("rsa.txt").lines();
    let (modulus, rsa_token) = (lines.next().unwrap(), lines.next().unwrap());
    let bytes = URL_SAFE_NO_PAD.decode(modulus).unwrap();
    for (bytes, is_used) in [
        (bytes.clone(), true),
        // Leading zeros make no key longer.
        ([vec![0; 200], bytes[..255].to_vec()].concat(), false),
        ([bytes.clone(), bytes.clone(), vec![1]].concat(), false),
        (vec![], false),
    ] {
        let n = URL_SAFE_NO_PAD.encode(&bytes);
        let source = Source::default();
        let rsa = jwk(json!({ "kty": "RSA", "kid": "rsa", "alg": "RS256", "n": n, "e": "AQAB" }));
        let fetched = if is_used { vec![rsa] } else { vec![rsa, ed25519.jwk.clone()] };
        source.publish_keys(fetched);
        let authenticator = builder(&source).algorithms([Algorithm::RS256, Algorithm::EdDSA]).build();
        assert_eq!(authenticator.verify(rsa_token).await.is_ok(), is_used, "{} bytes", bytes.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_may_be_for_any_of_several_audiences() {
    let (source, signer) = one_key();
    let authenticator = builder(&source).audiences(["app", "desk"]).build();
    for (audience, is_right) in [
        (json!("app"), true),
        (json!("desk"), true),
        (json!(["another", "desk"]), true),
        (json!(AUDIENCE), false),
        (json!("another"), false),
        (json!(null), false),
    ] {
        let verified = authenticator.verify(&signer.token(&json!({ "aud": audience }))).await;
        assert_eq!(verified.is_ok(), is_right, "{audience}");
    }
    let nobody = builder(&source).audiences(Vec::<String>::new()).build();
    assert_eq!(nobody.verify(&signer.good()).await, Err(TokenError::Invalid));
}

#[tokio::test(start_paused = true)]
async fn issuer_audience_and_subject_must_be_right() {
    let (source, signer) = one_key();
    let authenticator = builder(&source).build();
    for wrong in [
        json!({ "iss": "another" }),
        json!({ "iss": null }),
        json!({ "iss": 7 }),
        json!({ "aud": "another" }),
        json!({ "aud": ["another", "third"] }),
        json!({ "aud": [] }),
        json!({ "aud": null }),
        json!({ "sub": null }),
        json!({ "sub": 7 }),
        json!({ "exp": null }),
        json!({ "exp": "tomorrow" }),
        json!({ "exp": -1 }),
        json!({ "nbf": "yesterday" }),
        json!({ "iat": "yesterday" }),
    ] {
        assert_eq!(authenticator.verify(&signer.token(&wrong)).await, Err(TokenError::Invalid), "{wrong}");
    }
    for right in [json!({ "aud": ["another", AUDIENCE] }), json!({ "iat": null }), json!({ "exp": 1_800_000_100.5 })] {
        assert!(authenticator.verify(&signer.token(&right)).await.is_ok(), "{right}");
    }
}

#[tokio::test(start_paused = true)]
async fn clocks_may_differ_by_the_skew_either_way() {
    let (source, signer) = one_key();
    let (life, skew) = (LIFE as i64, SKEW as i64);
    let token = signer.good();
    for (now, expected) in [
        (-skew - 1, Some(TokenError::NotYetValid)),
        (-skew, None),
        (0, None),
        (life, None),
        (life + skew - 1, None),
        (life + skew, Some(TokenError::Expired)),
    ] {
        assert_eq!(at(&source, now).verify(&token).await.err(), expected, "{now} s after it was issued");
    }
    let later = signer.token(&json!({ "nbf": BEGIN + 100 }));
    assert_eq!(at(&source, 100 - skew - 1).verify(&later).await, Err(TokenError::NotYetValid));
    assert!(at(&source, 100 - skew).verify(&later).await.is_ok());
    // The last second that there is doesn't overflow.
    let forever = signer.token(&json!({ "exp": u64::MAX }));
    assert!(at(&source, 0).verify(&forever).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_token_is_refused_without_a_fetch() {
    let (source, signer) = one_key();
    let authenticator = builder(&source).build();
    authenticator.verify(&signer.good()).await.unwrap();
    let before = source.fetches();
    tokio::time::advance(std::time::Duration::from_secs(60)).await;
    let good = signer.good();
    let (message, signature) = good.rsplit_once('.').unwrap();
    let no_id = token(&json!({ "alg": "EdDSA" }), &claims(), &[0; 64]);
    let critical = token(&json!({ "alg": "EdDSA", "kid": "first", "crit": ["exp"] }), &claims(), &[0; 64]);
    let long = format!("{message}{}.{signature}", "A".repeat(8 * 1024));
    let cut = good[..good.len() - 2].to_owned();
    let more = format!("{good}.x");
    let unsigned = format!("{message}.");
    for wrong in ["", "x", "a.b.c", "..", "🦀", &no_id, &critical, &long, &cut, &more, &unsigned, message] {
        assert_eq!(authenticator.verify(wrong).await, Err(TokenError::Invalid), "{wrong:?}");
    }
    assert_eq!(source.fetches(), before);
}

#[tokio::test(start_paused = true)]
async fn roles_come_from_the_usual_claims_or_by_the_users_own_mapping() {
    let (source, signer) = one_key();
    let token = signer.token(&json!({ "role": "a", "roles": ["b", 7, "c"], "scope": "d  e" }));
    let principal = builder(&source).build().verify(&token).await.unwrap();
    assert_eq!(principal.roles().collect::<Vec<_>>(), ["a", "b", "c", "d", "e"]);
    let own = builder(&source).principal(|claims| {
        let subject = claims.subject()?.strip_prefix("users/")?;
        Some(Principal::new(subject, [format!("exp {}", claims.get("exp")?)]))
    });
    let principal = own.clone().build().verify(&token).await.unwrap();
    assert_eq!((principal.subject(), principal.has_role("exp 1800000600")), ("anna", true));
    // One that says nothing refuses.
    let refused = own.build().verify(&signer.token(&json!({ "sub": "robots/r2" }))).await;
    assert_eq!(refused, Err(TokenError::Invalid));
}
