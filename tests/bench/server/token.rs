//! The token that all calls bear.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header};
use meshwork::server::auth::jwt::{Algorithm, Jwk, JwkSet, JwtAuthenticator};
use serde_json::json;

const ISSUER: &str = "issuer";
const AUDIENCE: &str = "bench";
const KEY: &str = "key";
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// An Ed25519 key that servers and callers both make: PKCS#8 of RFC 8410, with nothing but the key.
fn key() -> EncodingKey {
    let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    der.extend([7; 32]);
    EncodingKey::from_ed_der(&der)
}

/// A good token of this subject.
pub fn sign(subject: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "role": "customer", "iat": now, "exp": now + LIFE.as_secs(),
    });
    let header = Header { kid: Some(KEY.to_owned()), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, &claims, &key()).unwrap()
}

/// A token like a good one that nobody has signed; another for each `turn`.
pub fn forge(turn: usize) -> String {
    static GOOD: LazyLock<String> = LazyLock::new(|| sign("users/mallory"));
    let mark = format!("{turn:08}");
    let (kept, _) = GOOD.split_at(GOOD.len() - mark.len() - 2);
    // The last characters stay: not all letters may end a signature.
    format!("{kept}{mark}{}", &GOOD[GOOD.len() - 2..])
}

/// Knows the tokens; it remembers so many.
pub fn authenticator(remembered: usize) -> JwtAuthenticator {
    let mut jwk = Jwk::from_encoding_key(&key(), Algorithm::EdDSA).unwrap();
    jwk.common.key_id = Some(KEY.to_owned());
    JwtAuthenticator::builder(JwkSet { keys: vec![jwk] }, ISSUER, AUDIENCE).cache(remembered).build()
}
