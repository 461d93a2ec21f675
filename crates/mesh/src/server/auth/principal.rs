//! The caller of a method.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderValue;

/// A caller whose credentials were verified: an extension of the request, put there by
/// [`AuthenticationLayer`](super::AuthenticationLayer). A request without it is anonymous.
///
/// Two principals are equal when they are the same caller with the same rights: subject, roles, session, scopes and key.
/// Until when its credentials hold, and those that are forwarded for it, are of one call and don't count.
#[derive(Clone)]
pub struct Principal(Arc<Inner>);

/// One count of references for all of it: a principal is cloned for each call.
#[derive(Clone)]
struct Inner {
    subject: Arc<str>,
    roles: Box<[Box<str>]>,
    session: Option<Box<str>>,
    /// None: unrestricted.
    scopes: Option<Box<[Box<str>]>>,
    key: Option<Box<str>>,
    expires_at: Option<SystemTime>,
    forwarded: Option<HeaderValue>,
}

impl Inner {
    /// What principals are compared by.
    fn rights(&self) -> impl PartialEq + '_ {
        let Self { subject, roles, session, scopes, key, expires_at: _, forwarded: _ } = self;
        (subject, roles, session, scopes, key)
    }
}

impl Principal {
    /// A principal by its subject (the `sub` of a token) and its roles.
    pub fn new<R: Into<Box<str>>>(subject: impl Into<Arc<str>>, roles: impl IntoIterator<Item = R>) -> Self {
        Self(Arc::new(Inner {
            subject: subject.into(),
            roles: roles.into_iter().map(Into::into).collect(),
            session: None,
            scopes: None,
            key: None,
            expires_at: None,
            forwarded: None,
        }))
    }

    /// The principal by a session of its subject (the `sid` of a token, OpenID Connect Front-Channel Logout 1.0).
    #[must_use]
    pub fn with_session(mut self, session: impl Into<Box<str>>) -> Self {
        Arc::make_mut(&mut self.0).session = Some(session.into());
        self
    }

    /// The principal by credentials that expire at `at`. A [server](crate::server::Server) ends calls that go on then with
    /// UNAUTHENTICATED, reason `CREDENTIALS_EXPIRED`, streams in their trailers; the layers leave that to the server.
    #[must_use]
    pub fn with_expiry(mut self, at: SystemTime) -> Self {
        Arc::make_mut(&mut self.0).expires_at = Some(at);
        self
    }

    /// The principal, restricted to these services (`package.Service`) and methods (`package.Service/Method`); to nothing when
    /// there are none. Other calls are PERMISSION_DENIED, reason `SCOPE_MISSING`, also of methods that are open to everybody.
    ///
    /// ```
    /// use meshwork::server::auth::Principal;
    ///
    /// let reader = Principal::new("users/anna", ["customer"]).with_scopes(["shop.v1.Orders/Get", "shop.v1.Products"]);
    /// assert!(reader.permits("/shop.v1.Orders/Get") && reader.permits("/shop.v1.Products/List"));
    /// assert!(!reader.permits("/shop.v1.Orders/Place"));
    /// ```
    #[must_use]
    pub fn with_scopes<S: Into<Box<str>>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        Arc::make_mut(&mut self.0).scopes = Some(scopes.into_iter().map(Into::into).collect());
        self
    }

    /// The principal by an API key of its subject, of which this is the id and not the secret.
    #[must_use]
    pub fn with_key(mut self, id: impl Into<Box<str>>) -> Self {
        Arc::make_mut(&mut self.0).key = Some(id.into());
        self
    }

    /// The principal, for whom a [`Proxy`](crate::server::proxy::Proxy) sends `authorization` in place of the `authorization` and
    /// the `x-api-key` that came: a token that an API key was exchanged for.
    #[must_use]
    pub fn with_forwarded_credentials(mut self, mut authorization: HeaderValue) -> Self {
        // No peer is to remember it among the headers that it compresses (RFC 7541, section 7.1.3).
        authorization.set_sensitive(true);
        Arc::make_mut(&mut self.0).forwarded = Some(authorization);
        self
    }

    /// Who it is.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The session that its credentials are of, if they name one.
    pub fn session(&self) -> Option<&str> {
        self.0.session.as_deref()
    }

    /// Its roles.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.0.roles.iter().map(AsRef::as_ref)
    }

    /// Whether it has `role`.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles().any(|own| own == role)
    }

    /// When its credentials expire, if they do.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.0.expires_at
    }

    /// The services and methods that it is restricted to; `None`: it is not restricted.
    pub fn scopes(&self) -> Option<impl Iterator<Item = &str>> {
        Some(self.0.scopes.as_ref()?.iter().map(AsRef::as_ref))
    }

    /// Whether its scopes permit the method at `path`, `/package.Service/Method`. What the method asks of callers is another
    /// question.
    pub fn permits(&self, path: &str) -> bool {
        let Some(mut scopes) = self.scopes() else { return true };
        let path = path.strip_prefix('/').unwrap_or(path);
        let service = path.split_once('/').map(|(service, _)| service);
        scopes.any(|scope| scope == path || Some(scope) == service)
    }

    /// The id of the API key that it calls by, if it does.
    pub fn key(&self) -> Option<&str> {
        self.0.key.as_deref()
    }

    /// What a proxy sends as `authorization` in place of the credentials that came, if it is not these.
    pub fn forwarded_credentials(&self) -> Option<&HeaderValue> {
        self.0.forwarded.as_ref()
    }
}

impl PartialEq for Principal {
    fn eq(&self, other: &Self) -> bool {
        self.0.rights() == other.0.rights()
    }
}

impl Eq for Principal {}

impl fmt::Debug for Principal {
    /// Without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { subject, roles, session, scopes, key, expires_at, forwarded: _ } = &*self.0;
        f.debug_struct("Principal")
            .field("subject", subject)
            .field("roles", roles)
            .field("session", session)
            .field("scopes", scopes)
            .field("key", key)
            .field("expires_at", expires_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn anna() -> Principal {
        Principal::new("users/anna", ["customer"])
    }

    #[test]
    fn scopes_permit_the_services_and_methods_that_they_name() {
        assert!(anna().permits("/a.v1.Any/Thing") && anna().scopes().is_none());
        let some = anna().with_scopes(["a.v1.Users/Get", "a.v1.Orders"]);
        for path in ["/a.v1.Users/Get", "a.v1.Users/Get", "/a.v1.Orders/Place", "/a.v1.Orders/"] {
            assert!(some.permits(path), "{path}");
        }
        for path in ["/a.v1.Users/GetAll", "/a.v1.Users/Get/", "/a.v1.OrdersToo/Get", "/a.v1.Users", "/a.v1", "/", ""] {
            assert!(!some.permits(path), "{path}");
        }
        let nothing = anna().with_scopes([""; 0]);
        assert!(
            !nothing.permits("/a.v1.Any/Thing") && nothing.scopes().is_some_and(|mut scopes| scopes.next().is_none())
        );
        // What is none of ours is the name of nothing.
        assert!(!anna().with_scopes(["openid", "", "/"]).permits("/a.v1.Any/Thing"));
    }

    #[test]
    fn who_it_is_does_not_depend_on_its_credentials() {
        let later = anna().with_expiry(UNIX_EPOCH + Duration::from_secs(7));
        let forwarded = later.clone().with_forwarded_credentials(HeaderValue::from_static("Bearer secret"));
        assert_eq!((anna(), anna()), (later.clone(), forwarded.clone()));
        assert_eq!((later.expires_at(), anna().expires_at()), (Some(UNIX_EPOCH + Duration::from_secs(7)), None));
        assert!(
            forwarded.forwarded_credentials().is_some_and(|value| value == "Bearer secret" && value.is_sensitive())
        );
        for other in [
            anna().with_session("s-1"),
            anna().with_key("k-1"),
            anna().with_scopes([""; 0]),
            Principal::new("users/anna", ["staff"]),
            Principal::new("users/bert", ["customer"]),
        ] {
            assert_ne!(anna(), other);
        }
    }

    #[test]
    fn no_credentials_are_shown() {
        let shown =
            format!("{:?}", anna().with_key("k-1").with_forwarded_credentials(HeaderValue::from_static("secret")));
        assert!(shown.contains("users/anna") && shown.contains("k-1") && !shown.contains("secret"), "{shown}");
    }
}
