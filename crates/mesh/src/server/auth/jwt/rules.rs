//! What is asked of a token beside its signature.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation};

use super::key::Key;
use super::{Claims, TokenError};

/// How many bits the modulus of an RSA key has: from what RFC 7518 §3.3 asks for to what is still verified.
const RSA_BITS: RangeInclusive<usize> = 2048..=4096;

/// The rules of one issuer and its audiences.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) issuer: String,
    /// One of these has to be among a token's.
    pub(super) audiences: Vec<String>,
    pub(super) algorithms: Vec<Algorithm>,
    /// What clocks may differ by.
    pub(super) skew: Duration,
}

/// Claims that hold, and until when they do: in seconds since 1970, the skew included.
pub(super) struct Verified {
    pub(super) claims: Claims,
    pub(super) until: u64,
}

impl Rules {
    /// How tokens are verified by this key; `None` when it isn't to be used.
    pub(super) fn of_key(&self, jwk: &Jwk) -> Option<(DecodingKey, Validation)> {
        if jwk.common.public_key_use.as_ref().is_some_and(|r#use| *r#use != PublicKeyUse::Signature) {
            return None;
        }
        if !is_strong(jwk) {
            return None;
        }
        let key = DecodingKey::from_jwk(jwk).ok().filter(|key| key.family() != AlgorithmFamily::Hmac)?;
        let named = jwk.common.key_algorithm.map(|algorithm| algorithm.to_string());
        let algorithms: Vec<_> = self
            .algorithms
            .iter()
            .copied()
            .filter(|algorithm| algorithm.family() == key.family())
            .filter(|algorithm| named.as_ref().is_none_or(|named| *named == format!("{algorithm:?}")))
            .collect();
        let mut validation = Validation::new(*algorithms.first()?);
        validation.algorithms = algorithms;
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&self.audiences);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // The times are compared below, by a clock that tests can set.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Some((key, validation))
    }

    /// What the token says, if it is good at `now`.
    pub(super) fn verify(&self, token: &str, key: &Key, now: u64) -> Result<Verified, TokenError> {
        let decoded =
            jsonwebtoken::decode(token, &key.decoding, &key.validation).map_err(|error| match error.kind() {
                ErrorKind::ExpiredSignature => TokenError::Expired,
                ErrorKind::ImmatureSignature => TokenError::NotYetValid,
                _ => TokenError::Invalid,
            })?;
        let claims = Claims::new(decoded.claims);
        let time = |name| claims.time(name).map_err(|()| TokenError::Invalid);
        let skew = self.skew.as_secs();
        let until = time("exp")?.ok_or(TokenError::Invalid)?.saturating_add(skew);
        if now >= until {
            return Err(TokenError::Expired);
        }
        let from = time("nbf")?.max(time("iat")?).unwrap_or(0);
        if from > now.saturating_add(skew) {
            return Err(TokenError::NotYetValid);
        }
        Ok(Verified { claims, until })
    }
}

/// Whether a key is as long as keys of its kind have to be.
fn is_strong(jwk: &Jwk) -> bool {
    let AlgorithmParameters::RSA(key) = &jwk.algorithm else { return true };
    let Ok(modulus) = URL_SAFE_NO_PAD.decode(&key.n) else { return false };
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let bits = modulus.get(zeros).map_or(0, |first| 8 * (modulus.len() - zeros) - first.leading_zeros() as usize);
    RSA_BITS.contains(&bits)
}

/// Whole seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
