//! Keys by which programs call in the name of an account.

use std::fmt;
use std::str::FromStr;

use meshwork_api::ApiKeyName;
use time::{Duration, OffsetDateTime};

use super::DisplayName;

/// How many keys of an account may live at once.
pub const MAX_LIVE_KEYS: usize = 50;
/// How many keys that have ended are kept of an account; more are forgotten before their time, those that ended first.
pub const MAX_ENDED_KEYS: usize = 100;
/// How many scopes a key has at most.
pub const MAX_SCOPES: usize = 100;
/// For how long it is known of a key that it has ended.
pub const KEEP_ENDED_KEYS: Duration = Duration::days(30);
/// The longest life of a key.
const MAX_LIFE: Duration = Duration::days(400);
/// The life of a key that is made without an end.
const DEFAULT_LIFE: Duration = Duration::days(90);
/// The most bytes of a scope.
const MAX_SCOPE: usize = 200;

/// What is kept of a key: its SHA-256. Who reads the store can't use the keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyDigest(pub [u8; 32]);

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest([redacted])")
    }
}

/// What a key may be used for: a service, `package.Service`, or a method of one, `package.Service/Method`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(String);

/// A text can't be a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must name a service like `meshwork.orders.v1.OrderService`, or a method like `meshwork.orders.v1.OrderService/GetOrder`"
)]
pub struct InvalidScope;

impl Scope {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.')
        };
        let (service, method) = text.split_once('/').map_or((text, None), |(service, method)| (service, Some(method)));
        let is_scope = text.len() <= MAX_SCOPE && is_name(service) && method.is_none_or(is_name);
        if is_scope { Ok(Self(text.to_owned())) } else { Err(InvalidScope) }
    }
}

/// A key as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its name.
    pub name: ApiKeyName,
    /// What it is for, in its owner's words.
    pub display_name: DisplayName,
    /// What it may be used for; anything that its account may do, but what keys may not, when there is none.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub create_time: OffsetDateTime,
    /// When it ceases to be good, unless it is revoked before.
    pub expire_time: OffsetDateTime,
    /// When it was revoked.
    pub revoke_time: Option<OffsetDateTime>,
}

/// A key can't end then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be in the future, and within {} days", MAX_LIFE.whole_days())]
pub struct InvalidExpiry;

impl ApiKey {
    /// When a key ends that is made at `now`, and is wanted until then.
    ///
    /// # Errors
    /// When it would have no life, or too long a one.
    pub fn expiry(wanted: Option<OffsetDateTime>, now: OffsetDateTime) -> Result<OffsetDateTime, InvalidExpiry> {
        // In whole microseconds, as stores keep it.
        let expiry = wanted.map_or(now + DEFAULT_LIFE, OffsetDateTime::truncate_to_microsecond);
        if expiry > now && expiry <= now + MAX_LIFE { Ok(expiry) } else { Err(InvalidExpiry) }
    }

    /// Whether it is good at `now`.
    pub fn is_live(&self, now: OffsetDateTime) -> bool {
        self.revoke_time.is_none() && now < self.expire_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn key() -> ApiKey {
        ApiKey {
            name: "users/anna/apiKeys/nightly".parse().unwrap(),
            display_name: "Nightly".parse().unwrap(),
            scopes: Vec::new(),
            create_time: NOW,
            expire_time: NOW + Duration::HOUR,
            revoke_time: None,
        }
    }

    #[test]
    fn a_key_is_good_until_it_expires_or_is_revoked() {
        let just = NOW + Duration::HOUR - Duration::microseconds(1);
        assert!(key().is_live(NOW) && key().is_live(just) && !key().is_live(NOW + Duration::HOUR));
        assert!(!ApiKey { revoke_time: Some(NOW), ..key() }.is_live(NOW));
    }

    #[test]
    fn a_key_has_a_life_of_bounded_length() {
        assert_eq!(ApiKey::expiry(None, NOW), Ok(NOW + Duration::days(90)));
        for days in [1, 90, 400] {
            assert_eq!(ApiKey::expiry(Some(NOW + Duration::days(days)), NOW), Ok(NOW + Duration::days(days)));
        }
        let wrong =
            [-Duration::SECOND, Duration::ZERO, Duration::nanoseconds(1), Duration::days(400) + Duration::SECOND];
        for life in wrong {
            assert_eq!(ApiKey::expiry(Some(NOW + life), NOW), Err(InvalidExpiry), "{life}");
        }
    }

    #[test]
    fn scopes_have_the_form_of_services_and_methods() {
        for text in ["meshwork.orders.v1.OrderService", "a.B/C", "Service"] {
            assert_eq!(text.parse::<Scope>().unwrap().as_str(), text);
        }
        let long = "a".repeat(201);
        for text in ["", "/", "a/", "/a", "a b", "a/b/c", "a/b ", "ä", "a\0", long.as_str()] {
            assert_eq!(text.parse::<Scope>(), Err(InvalidScope), "{text:?}");
        }
    }
}
