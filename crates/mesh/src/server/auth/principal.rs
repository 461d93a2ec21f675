//! The caller of a method.

use std::sync::Arc;

/// A caller whose credentials were verified: an extension of the request, put there by
/// [`AuthenticationLayer`](super::AuthenticationLayer). A request without it is anonymous.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    subject: Arc<str>,
    roles: Arc<[Box<str>]>,
}

impl Principal {
    /// A principal by its subject (the `sub` of a token) and its roles.
    pub fn new<R: Into<Box<str>>>(subject: impl Into<Arc<str>>, roles: impl IntoIterator<Item = R>) -> Self {
        Self { subject: subject.into(), roles: roles.into_iter().map(Into::into).collect() }
    }

    /// Who it is.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Its roles.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().map(AsRef::as_ref)
    }

    /// Whether it has `role`.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles().any(|own| own == role)
    }
}
