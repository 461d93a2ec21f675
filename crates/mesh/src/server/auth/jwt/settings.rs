//! What a [`JwtAuthenticator`](super::JwtAuthenticator) is made of.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::rules::Rules;
use super::{Claims, KeySource};
use crate::server::Domain;
use crate::server::auth::Principal;

/// Makes the principal of a token's claims.
pub(super) type PrincipalOfClaims = Arc<dyn Fn(&Claims) -> Option<Principal> + Send + Sync>;
/// What time it is.
pub(super) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The settings of an authenticator.
#[derive(Clone)]
pub(super) struct Settings {
    pub source: Arc<dyn KeySource>,
    pub rules: Rules,
    pub refresh_interval: Duration,
    pub refresh_floor: Duration,
    pub fetch_timeout: Duration,
    pub cache: usize,
    pub principal: PrincipalOfClaims,
    /// Whether the claim `scope` restricts principals.
    pub scopes: bool,
    pub clock: Clock,
    pub domain: Domain,
}
