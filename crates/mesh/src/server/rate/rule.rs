//! What is limited, and by what calls are told apart.

use std::fmt::Write as _;
use std::sync::Arc;

use http::HeaderName;

use super::Rate;
use super::decision::OnFailure;

/// By what the calls of a rule are told apart; each value has a bucket of its own. Calls that lack it share one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// The subject of the [`Principal`](crate::server::auth::Principal). Before identity there is none.
    Principal,
    /// The subject of the principal, or else the address.
    PrincipalOrAddress,
    /// Whom the certificate of the connection names.
    Peer,
    /// The address of the connection, never what a header says; of IPv6 the /64, all of which one client commands.
    Address,
    /// The method that is called.
    Method,
    /// The value of a header. Callers choose it freely, so it tells only honest callers apart.
    Header(HeaderName),
}

/// One limit: which calls it counts, by what, and how many it admits.
///
/// Rules of one name, rate, plan and key count in the same buckets wherever they stand, as long as they share a
/// [`RateLimiter`](super::RateLimiter).
#[derive(Clone, Debug)]
pub struct Rule {
    pub(super) name: Arc<str>,
    pub(super) rate: Rate,
    pub(super) key: Key,
    methods: Option<Arc<[Box<str>]>>,
    pub(super) on_failure: OnFailure,
    /// None: of those whose plan has no rule of its own.
    pub(super) plan: Option<Box<str>>,
    /// Name, rate and plan, as part of a bucket's name: a rate that was changed starts with full buckets.
    pub(super) id: Arc<str>,
}

impl Rule {
    /// A limit of all methods by [`Key::PrincipalOrAddress`] that fails [`OnFailure::OpenLocal`]. Callers see the name.
    ///
    /// ```
    /// use meshwork::server::rate::{Rate, Rule};
    ///
    /// let rule = Rule::new("calls", Rate::per_second(100, 10.0)?);
    /// # Ok::<_, meshwork::server::rate::InvalidRate>(())
    /// ```
    pub fn new(name: impl Into<Arc<str>>, rate: Rate) -> Self {
        let name = name.into();
        let id = format!("{name}:{}", rate.id()).into();
        let on_failure = OnFailure::default();
        Self { name, rate, key: Key::PrincipalOrAddress, methods: None, on_failure, plan: None, id }
    }

    /// Tells calls apart by `key`.
    ///
    /// ```
    /// # use meshwork::server::rate::{Key, Rate, Rule};
    /// let rule = Rule::new("connections", Rate::per_second(100, 10.0)?).key(Key::Address);
    /// # Ok::<_, meshwork::server::rate::InvalidRate>(())
    /// ```
    #[must_use]
    pub fn key(mut self, key: Key) -> Self {
        self.key = key;
        self
    }

    /// Counts only these methods (`package.Service/Method`), or those of these services (`package.Service`).
    ///
    /// ```
    /// # use meshwork::server::rate::{Rate, Rule};
    /// let rule = Rule::new("sign-in", Rate::per_second(5, 0.1)?).methods(["shop.users.v1.AuthService/SignIn"]);
    /// # Ok::<_, meshwork::server::rate::InvalidRate>(())
    /// ```
    #[must_use]
    pub fn methods<M: AsRef<str>>(mut self, methods: impl IntoIterator<Item = M>) -> Self {
        self.methods = Some(methods.into_iter().map(|method| method.as_ref().trim_start_matches('/').into()).collect());
        self
    }

    /// Counts only callers of `plan`, as [`RateLimitLayer::plans`](super::RateLimitLayer::plans) tells it; they have buckets of
    /// their own there. Of the rules of one name that count a method, a caller is held to those of its plan, or, where there
    /// are none, to those without a plan.
    ///
    /// ```
    /// # use meshwork::server::rate::{Rate, Rule};
    /// let calls = [
    ///     Rule::new("calls", Rate::per_second(100, 10.0)?),
    ///     Rule::new("calls", Rate::per_second(5000, 500.0)?).plan("partner"),
    /// ];
    /// # Ok::<_, meshwork::server::rate::InvalidRate>(())
    /// ```
    #[must_use]
    pub fn plan(mut self, plan: impl Into<Box<str>>) -> Self {
        let plan = plan.into();
        let mut id = format!("{}:{}:plan=", self.name, self.rate.id());
        // Escaped, so that no other rule has the same id.
        for byte in plan.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => id.push(char::from(byte)),
                _ => drop(write!(id, "%{byte:02x}")),
            }
        }
        (self.plan, self.id) = (Some(plan), id.into());
        self
    }

    /// What becomes of calls while the buckets are out of reach. It means nothing to buckets in the process.
    ///
    /// ```
    /// # use meshwork::server::rate::{OnFailure, Rate, Rule};
    /// let rule = Rule::new("payments", Rate::per_second(5, 0.1)?).on_failure(OnFailure::Closed);
    /// # Ok::<_, meshwork::server::rate::InvalidRate>(())
    /// ```
    #[must_use]
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many calls it admits.
    pub fn rate(&self) -> &Rate {
        &self.rate
    }

    /// Whether it counts calls of the method at `path` (`/package.Service/Method`).
    pub fn counts(&self, path: &str) -> bool {
        let Some(methods) = &self.methods else { return true };
        let path = path.strip_prefix('/').unwrap_or(path);
        methods.iter().any(|method| {
            path.strip_prefix(&**method)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || method.ends_with('/'))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Rule {
        Rule::new("r", Rate::per_second(1, 1.0).unwrap())
    }

    #[test]
    fn a_rule_counts_the_methods_and_services_that_it_names() {
        assert!(rule().counts("/a.v1.Any/Thing"));
        let some = rule().methods(["a.v1.Users/SignIn", "/a.v1.Orders", "a.v1.Carts/"]);
        for path in ["/a.v1.Users/SignIn", "/a.v1.Orders/Get", "/a.v1.Carts/Get"] {
            assert!(some.counts(path), "{path}");
        }
        for path in ["/a.v1.Users/SignInAgain", "/a.v1.Users/Get", "/a.v1.OrdersToo/Get", "/", ""] {
            assert!(!some.counts(path), "{path}");
        }
        assert!(!rule().methods([""; 0]).counts("/a.v1.Any/Thing"));
    }

    #[test]
    fn another_rate_is_another_bucket() {
        let other = Rule::new("r", Rate::per_second(2, 1.0).unwrap());
        assert_ne!(rule().id, other.id);
        assert_eq!(rule().id, rule().key(Key::Address).methods(["a.B"]).id);
    }

    #[test]
    fn another_plan_is_another_bucket_and_a_rule_without_one_keeps_its_own() {
        assert_eq!(&*rule().id, "r:1-1-1000000-us");
        assert_eq!(&*rule().plan("partner").id, "r:1-1-1000000-us:plan=partner");
        assert_eq!(&*rule().plan("a b:ü").id, "r:1-1-1000000-us:plan=a%20b%3a%c3%bc");
        assert_ne!(rule().plan("free").id, rule().plan("partner").id);
        assert_ne!(rule().plan("").id, rule().id);
    }
}
