//! An issuer of tokens whose keys, moods and clock a test decides about.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use jsonwebtoken::{EncodingKey, Header};
use meshwork::server::auth::JwtAuthenticator;
use meshwork::server::auth::jwt::{Algorithm, Jwk, JwkSet, JwtBuilder, KeySource};
use serde_json::{Value, json};
use tokio::time::Instant;

pub const ISSUER: &str = "issuer";
pub const AUDIENCE: &str = "shop";
/// When the tests begin, in seconds since 1970.
pub const BEGIN: u64 = 1_800_000_000;
/// How long a token lives that says nothing else.
pub const LIFE: u64 = 600;
pub const SKEW: u64 = 5;

/// A pair of keys.
pub struct Signer {
    pub jwk: Jwk,
    key: EncodingKey,
    algorithm: Algorithm,
}

impl Signer {
    /// An Ed25519 key, made of `seed`.
    pub fn ed25519(id: &str, seed: u8) -> Self {
        // PKCS#8 of RFC 8410, with nothing but the key.
        let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        der.extend([seed; 32]);
        Self::of(id, EncodingKey::from_ed_der(&der), Algorithm::EdDSA)
    }

    /// A new EC key on P-256.
    pub fn p256(id: &str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Self::of(id, EncodingKey::from_ec_der(&pair.serialize_der()), Algorithm::ES256)
    }

    fn of(id: &str, key: EncodingKey, algorithm: Algorithm) -> Self {
        let mut jwk = Jwk::from_encoding_key(&key, algorithm).unwrap();
        jwk.common.key_id = Some(id.to_owned());
        Self { jwk, key, algorithm }
    }

    /// A good token of `users/anna` with these claims changed; null takes one away.
    pub fn token(&self, changes: &Value) -> String {
        let mut claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "users/anna", "role": "customer", "iat": BEGIN, "exp": BEGIN + LIFE,
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let header = Header { kid: self.jwk.common.key_id.clone(), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap()
    }

    pub fn good(&self) -> String {
        self.token(&json!({}))
    }
}

#[derive(Clone, Copy, Default)]
pub enum Mood {
    #[default]
    Answers,
    Fails,
    Hangs,
    Panics,
}

/// Publishes what it is told to.
#[derive(Clone, Default)]
pub struct Source(Arc<State>);

#[derive(Default)]
struct State {
    keys: Mutex<Vec<Jwk>>,
    mood: Mutex<Mood>,
    fetches: AtomicUsize,
}

impl Source {
    pub fn publish<'s>(&self, signers: impl IntoIterator<Item = &'s Signer>) {
        self.publish_keys(signers.into_iter().map(|signer| signer.jwk.clone()));
    }

    pub fn publish_keys(&self, keys: impl IntoIterator<Item = Jwk>) {
        *self.0.keys.lock().unwrap() = keys.into_iter().collect();
    }

    pub fn set(&self, mood: Mood) {
        *self.0.mood.lock().unwrap() = mood;
    }

    pub fn fetches(&self) -> usize {
        self.0.fetches.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl KeySource for Source {
    async fn fetch(&self) -> Result<JwkSet, String> {
        self.0.fetches.fetch_add(1, Ordering::SeqCst);
        let mood = *self.0.mood.lock().unwrap();
        match mood {
            Mood::Answers => Ok(JwkSet { keys: self.0.keys.lock().unwrap().clone() }),
            Mood::Fails => Err("down".to_owned()),
            Mood::Hangs => std::future::pending().await,
            Mood::Panics => panic!("told to panic"),
        }
    }
}

/// Settings by which tokens of `source` verify; the wall clock goes with tokio's.
pub fn builder(source: &Source) -> JwtBuilder {
    let begin = Instant::now();
    JwtAuthenticator::builder(source.clone(), ISSUER, AUDIENCE)
        .clock(move || UNIX_EPOCH + Duration::from_secs(BEGIN) + begin.elapsed())
}

/// An authenticator that stands at a time of its own, `at` seconds after the beginning.
pub fn at(source: &Source, at: i64) -> JwtAuthenticator {
    let now: SystemTime = UNIX_EPOCH + Duration::from_secs(BEGIN.checked_add_signed(at).unwrap());
    builder(source).clock(move || now).build()
}

/// A source with one Ed25519 key, and that key.
pub fn one_key() -> (Source, Signer) {
    let (source, signer) = (Source::default(), Signer::ed25519("first", 1));
    source.publish([&signer]);
    (source, signer)
}
