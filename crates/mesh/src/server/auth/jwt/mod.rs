//! Callers known by JSON Web Tokens (RFC 7519) in `authorization: Bearer TOKEN` (RFC 6750).
//!
//! [`JwtAuthenticator`] verifies a token's signature by the keys of its issuer, then who signed it, whom it is for and when
//! it holds. It follows RFC 8725: the algorithm of each key is pinned, what a token's header says is compared with it and
//! never followed, and keys that come with a token are not looked at. Tokens must name their key (`kid`).
//!
//! ```no_run
//! use meshwork::server::auth::AuthenticationLayer;
//! use meshwork::server::auth::jwt::{JwkSet, JwtAuthenticator};
//!
//! # fn keys() -> JwkSet { unimplemented!() }
//! # fn example() {
//! let authenticator = JwtAuthenticator::builder(keys(), "https://login.example.com", "shop").build();
//! let fresh = authenticator.clone();
//! tokio::spawn(async move { fresh.keep_fresh().await });
//! let layer = AuthenticationLayer::new(std::sync::Arc::new(authenticator));
//! # }
//! ```

mod authenticator;
mod builder;
mod cache;
mod claims;
mod error;
mod key;
mod keys;
mod rules;
mod settings;

use std::sync::Arc;

use async_trait::async_trait;
pub use jsonwebtoken::Algorithm;
pub use jsonwebtoken::jwk::{Jwk, JwkSet};

pub use self::authenticator::JwtAuthenticator;
pub use self::builder::JwtBuilder;
pub use self::claims::Claims;
pub use self::error::TokenError;

/// Where the public keys of an issuer come from.
///
/// Ed25519, EC P-256 and P-384, and RSA keys of 2048 to 4096 bits are used; symmetric ones, those without an id, and those that
/// are for encryption are not.
#[async_trait]
pub trait KeySource: Send + Sync + 'static {
    /// The keys that are in use now. A key that is no longer among them has been withdrawn: its tokens end.
    ///
    /// # Errors
    /// A sentence about what went wrong, for the log. The keys at hand stay in use.
    async fn fetch(&self) -> Result<JwkSet, String>;
}

/// Keys that never change.
#[async_trait]
impl KeySource for JwkSet {
    async fn fetch(&self) -> Result<JwkSet, String> {
        Ok(self.clone())
    }
}

#[async_trait]
impl<S: KeySource + ?Sized> KeySource for Arc<S> {
    async fn fetch(&self) -> Result<JwkSet, String> {
        (**self).fetch().await
    }
}
