//! The layers that find out who calls and refuse who may not.

use std::sync::Arc;

use meshwork::server::Domain;
use meshwork::server::auth::{AuthenticationLayer, AuthenticationService, AuthorizationLayer, AuthorizationService};
use tower::Layer;

use super::{AccessTable, Verifier};

/// Finds the caller of each call by its token, and holds it against the method's access option.
///
/// Health checks and reflection pass without a token; methods outside our contracts pass too, for the router to refuse.
#[derive(Clone, Debug)]
pub struct AuthLayer {
    authentication: AuthenticationLayer,
    authorization: AuthorizationLayer,
}

impl AuthLayer {
    /// A layer whose errors carry `domain`.
    pub fn new(verifier: &Verifier, domain: &'static str) -> Self {
        let table = AccessTable::from_contracts().layers();
        Self {
            authentication: AuthenticationLayer::new(Arc::new(verifier.authenticator(domain))),
            authorization: AuthorizationLayer::new(table, Domain::new(domain)),
        }
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = AuthenticationService<AuthorizationService<S>>;

    fn layer(&self, inner: S) -> Self::Service {
        self.authentication.layer(self.authorization.layer(inner))
    }
}
