//! Who answers: the services of the shop, and what the configuration adds to them.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The request metadata by which a caller names the upstream that it means, where several answer a service.
pub const SERVICE: &str = "meshwork-service";

/// The package of what administers services.
const ADMIN: &str = "meshwork.admin.";

/// Who answers the services of [`ADMIN`]: what is there is no upstream's own.
const ADMINISTERED: [(&str, &[Upstream]); 4] = [
    ("AuditService", &Upstream::ALL),
    // The others cache nothing.
    ("CacheService", &[Upstream::Users, Upstream::Products]),
    ("DeadLetterService", &Upstream::ALL),
    // Only the orders are projected from events.
    ("ProjectionService", &[Upstream::Orders]),
];

/// The longest name of an upstream, as that of a label of DNS.
const MAX_NAME: usize = 63;

/// A service of the shop behind the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Upstream {
    /// Accounts and sessions.
    Users,
    /// Products and their stock.
    Products,
    /// Orders.
    Orders,
    /// Messages to people.
    Notifications,
}

impl Upstream {
    /// All services.
    pub const ALL: [Upstream; 4] = [Upstream::Users, Upstream::Products, Upstream::Orders, Upstream::Notifications];

    /// The service's word, as settings and error messages have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Upstream::Users => "users",
            Upstream::Products => "products",
            Upstream::Orders => "orders",
            Upstream::Notifications => "notifications",
        }
    }

    /// The upstreams that answer a service of a package of the contracts, such as `UserService` of `meshwork.users.v1`;
    /// none when nobody does.
    pub(super) fn of_service(package: &str, service: &str) -> &'static [Self] {
        if package.starts_with(ADMIN) {
            let administered = ADMINISTERED.iter().find(|(name, _)| *name == service);
            return administered.map_or(&[], |(_, upstreams)| upstreams);
        }
        let name = package.strip_prefix("meshwork.").and_then(|rest| rest.split_once('.')).map(|(name, _version)| name);
        let own = Self::ALL.iter().find(|upstream| Some(upstream.as_str()) == name);
        own.map_or(&[], std::slice::from_ref)
    }
}

/// The name of an upstream: of a service of the shop, or of one that the configuration adds. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamName(Arc<str>);

impl UpstreamName {
    /// The name that `text` is: 1 to 63 of a-z, 0-9 and `-`, a letter first and no `-` last. `None` when it is none.
    pub fn new(text: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_name = text.len() <= MAX_NAME
            && text.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
            && text.bytes().all(fits)
            && !text.ends_with('-');
        is_name.then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, shared.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl From<Upstream> for UpstreamName {
    fn from(upstream: Upstream) -> Self {
        Self(upstream.as_str().into())
    }
}

impl Borrow<str> for UpstreamName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UpstreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_of_dns() {
        let long = "a".repeat(MAX_NAME);
        for name in ["a", "orders-next", "v2", &long] {
            assert_eq!(UpstreamName::new(name).unwrap().as_str(), name);
        }
        let longer = format!("{long}a");
        for name in ["", "Orders", "2nd", "-a", "a-", "a_b", "a.b", "a b", "ä", &longer] {
            assert_eq!(UpstreamName::new(name), None, "{name}");
        }
    }

    #[test]
    fn the_services_of_the_shop_have_names() {
        for upstream in Upstream::ALL {
            assert_eq!(UpstreamName::new(upstream.as_str()), Some(upstream.into()));
        }
    }
}
