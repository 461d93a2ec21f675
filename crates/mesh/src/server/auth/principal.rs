//! The caller of a method.

use std::sync::Arc;

/// A caller whose credentials were verified: an extension of the request, put there by
/// [`AuthenticationLayer`](super::AuthenticationLayer). A request without it is anonymous.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal(Arc<Inner>);

/// One count of references for all of it: a principal is cloned for each call.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    subject: Arc<str>,
    roles: Box<[Box<str>]>,
    session: Option<Box<str>>,
    scopes: Option<Box<[Box<str>]>>,
    key: Option<Box<str>>,
}

impl Principal {
    /// A principal by its subject (the `sub` of a token) and its roles.
    pub fn new<R: Into<Box<str>>>(subject: impl Into<Arc<str>>, roles: impl IntoIterator<Item = R>) -> Self {
        let roles = roles.into_iter().map(Into::into).collect();
        Self(Arc::new(Inner { subject: subject.into(), roles, session: None, scopes: None, key: None }))
    }

    /// The principal by a session of its subject (the `sid` of a token, OpenID Connect Front-Channel Logout 1.0).
    #[must_use]
    pub fn with_session(self, session: impl Into<Box<str>>) -> Self {
        Self(Arc::new(Inner { session: Some(session.into()), ..Arc::unwrap_or_clone(self.0) }))
    }

    /// The principal that may call no more than this, each a service, `package.Service`, or a method of one,
    /// `package.Service/Method` (the `scope` of a token, RFC 8693 §4.2).
    #[must_use]
    pub fn with_scopes<S: Into<Box<str>>>(self, scopes: impl IntoIterator<Item = S>) -> Self {
        let scopes = scopes.into_iter().map(Into::into).collect();
        Self(Arc::new(Inner { scopes: Some(scopes), ..Arc::unwrap_or_clone(self.0) }))
    }

    /// The principal that calls by an API key with this id.
    #[must_use]
    pub fn with_key(self, id: impl Into<Box<str>>) -> Self {
        Self(Arc::new(Inner { key: Some(id.into()), ..Arc::unwrap_or_clone(self.0) }))
    }

    /// Who it is.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The session that its credentials are of, if they name one.
    pub fn session(&self) -> Option<&str> {
        self.0.session.as_deref()
    }

    /// What it may call at most; `None` when nothing restricts it.
    pub fn scopes(&self) -> Option<impl Iterator<Item = &str>> {
        self.0.scopes.as_ref().map(|scopes| scopes.iter().map(AsRef::as_ref))
    }

    /// The id of the API key that it calls by, if it does.
    pub fn key(&self) -> Option<&str> {
        self.0.key.as_deref()
    }

    /// Its roles.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.0.roles.iter().map(AsRef::as_ref)
    }

    /// Whether it has `role`.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles().any(|own| own == role)
    }
}
