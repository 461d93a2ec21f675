//! The caller of a method.

use std::sync::Arc;

/// A caller whose credentials were verified: an extension of the request, put there by
/// [`AuthenticationLayer`](super::AuthenticationLayer). A request without it is anonymous.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal(Arc<Inner>);

/// One count of references for all of it: a principal is cloned for each call.
#[derive(Debug, PartialEq, Eq)]
struct Inner {
    subject: Arc<str>,
    roles: Box<[Box<str>]>,
    session: Option<Box<str>>,
}

impl Principal {
    /// A principal by its subject (the `sub` of a token) and its roles.
    pub fn new<R: Into<Box<str>>>(subject: impl Into<Arc<str>>, roles: impl IntoIterator<Item = R>) -> Self {
        let roles = roles.into_iter().map(Into::into).collect();
        Self(Arc::new(Inner { subject: subject.into(), roles, session: None }))
    }

    /// The principal by a session of its subject (the `sid` of a token, OpenID Connect Front-Channel Logout 1.0).
    #[must_use]
    pub fn with_session(self, session: impl Into<Box<str>>) -> Self {
        let Inner { subject, roles, .. } = &*self.0;
        Self(Arc::new(Inner { subject: subject.clone(), roles: roles.clone(), session: Some(session.into()) }))
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
}
