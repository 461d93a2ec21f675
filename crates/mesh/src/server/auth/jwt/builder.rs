//! The settings of a [`JwtAuthenticator`].

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::rules::Rules;
use super::settings::Settings;
use super::{Algorithm, Claims, JwtAuthenticator, KeySource};
use crate::server::Domain;
use crate::server::auth::Principal;

/// Settings of a [`JwtAuthenticator`], from [`JwtAuthenticator::builder`].
///
/// ```
/// use std::time::Duration;
/// use meshwork::server::Domain;
/// use meshwork::server::auth::Principal;
/// use meshwork::server::auth::jwt::{Algorithm, JwkSet, JwtAuthenticator};
///
/// let authenticator = JwtAuthenticator::builder(JwkSet::default(), "https://login.example.com", "shop")
///     .algorithms([Algorithm::EdDSA, Algorithm::ES256])
///     .clock_skew(Duration::from_secs(10))
///     .refresh_interval(Duration::from_secs(600))
///     .refresh_floor(Duration::from_secs(10))
///     .fetch_timeout(Duration::from_secs(3))
///     .cache(50_000)
///     .principal(|claims| Some(Principal::new(claims.text("client_id")?, ["client"])))
///     .scopes(true)
///     .clock(std::time::SystemTime::now)
///     .domain(Domain::new("shop.example.com"))
///     .build();
/// ```
#[derive(Clone)]
#[must_use]
pub struct JwtBuilder(Settings);

impl JwtAuthenticator {
    /// Settings for tokens that `issuer` (`iss`) has signed for `audience` (one of `aud`) with a key of `source`.
    pub fn builder(source: impl KeySource, issuer: impl Into<String>, audience: impl Into<String>) -> JwtBuilder {
        JwtBuilder::new(Arc::new(source), issuer.into(), audience.into())
    }
}

impl JwtBuilder {
    fn new(source: Arc<dyn KeySource>, issuer: String, audience: String) -> Self {
        Self(Settings {
            source,
            rules: Rules { issuer, audience, algorithms: vec![Algorithm::EdDSA], skew: Duration::from_secs(5) },
            refresh_interval: Duration::from_secs(300),
            refresh_floor: Duration::from_secs(5),
            fetch_timeout: Duration::from_secs(5),
            cache: 10_000,
            principal: Arc::new(Claims::principal),
            scopes: false,
            clock: Arc::new(SystemTime::now),
            domain: Domain::default(),
        })
    }

    /// The algorithms that tokens may be signed by; a key that is for none of them is not used. HMAC is never accepted, since
    /// whoever can verify could sign. The default is EdDSA alone.
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.0.rules.algorithms = algorithms.into_iter().collect();
        self
    }

    /// What the clocks of issuer and server may differ by, in whole seconds, either way. The default is 5 s.
    pub fn clock_skew(mut self, skew: Duration) -> Self {
        self.0.rules.skew = skew;
        self
    }

    /// How often [`JwtAuthenticator::keep_fresh`] fetches the keys, so that withdrawn ones end. The default is 5 min.
    pub fn refresh_interval(mut self, interval: Duration) -> Self {
        self.0.refresh_interval = interval;
        self
    }

    /// How long after a fetch tokens that name an unknown key can't begin another. The default is 5 s.
    pub fn refresh_floor(mut self, floor: Duration) -> Self {
        self.0.refresh_floor = floor;
        self
    }

    /// How long a fetch may take; calls with tokens of unknown keys wait for it. The default is 5 s.
    pub fn fetch_timeout(mut self, timeout: Duration) -> Self {
        self.0.fetch_timeout = timeout;
        self
    }

    /// How many verified tokens are kept; 0 verifies each time. The default is 10,000.
    pub fn cache(mut self, tokens: usize) -> Self {
        self.0.cache = tokens;
        self
    }

    /// Makes the principal of a token's claims; `None` refuses the token. It is called once for a token that is kept after.
    /// The default is [`Claims::principal`]. It expires with its token, or when this says so and that is earlier.
    pub fn principal(mut self, map: impl Fn(&Claims) -> Option<Principal> + Send + Sync + 'static) -> Self {
        self.0.principal = Arc::new(map);
        self
    }

    /// Whether the claim `scope` (RFC 8693, section 4.2: words between spaces), where a token has one, restricts its principal to
    /// the services and methods that it names ([`Principal::with_scopes`]). A claim that is no text refuses the token. The
    /// default is no: what other issuers put there, such as `openid`, names no methods. A principal whose scopes
    /// [`principal`](JwtBuilder::principal) has set keeps those.
    pub fn scopes(mut self, restrict: bool) -> Self {
        self.0.scopes = restrict;
        self
    }

    /// What time it is, for `exp`, `nbf` and `iat`. The default is the system's clock.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.0.clock = Arc::new(clock);
        self
    }

    /// Who speaks in the errors.
    pub fn domain(mut self, domain: Domain) -> Self {
        self.0.domain = domain;
        self
    }

    /// The authenticator. It has no keys yet: spawn [`JwtAuthenticator::keep_fresh`].
    pub fn build(self) -> JwtAuthenticator {
        JwtAuthenticator::of(self.0)
    }
}
