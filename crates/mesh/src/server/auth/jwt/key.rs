//! A public key, and whether it is in use.

use std::sync::atomic::{AtomicBool, Ordering};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{DecodingKey, Validation};

/// One public key, and what its tokens must keep to.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) jwk: Jwk,
    pub(super) decoding: DecodingKey,
    pub(super) validation: Validation,
    withdrawn: AtomicBool,
}

impl Key {
    pub(super) fn new(jwk: Jwk, decoding: DecodingKey, validation: Validation) -> Self {
        Self { jwk, decoding, validation, withdrawn: AtomicBool::new(false) }
    }

    /// A fetch says that the key is no longer in use.
    pub(super) fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Release);
    }

    /// Whether a fetch has said that the key is no longer in use.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Acquire)
    }
}
