//! The layer that refuses who may not call.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tonic::Status;
use tower_layer::Layer;
use tower_service::Service;

use super::{Access, AccessTable, Principal, refuse};
use crate::errors::port::{NOT_ALLOWED, NOT_SIGNED_IN, SCOPE_MISSING};
use crate::server::Domain;
use crate::server::plan::exempt;

/// Refuses calls that an [`AccessTable`] doesn't admit: UNAUTHENTICATED without credentials, PERMISSION_DENIED with
/// them. A method without an entry is refused, whoever may answer it: the layer doesn't know what is behind it. Health
/// checks and reflection pass. By default everybody may call everything, as far as their [scopes](Principal::with_scopes)
/// permit it.
#[derive(Clone, Debug, Default)]
pub struct AuthorizationLayer {
    table: Option<Arc<AccessTable>>,
    domain: Domain,
}

impl AuthorizationLayer {
    /// Admits by `table`; errors carry `domain`.
    pub fn new(table: AccessTable, domain: Domain) -> Self {
        Self { table: Some(Arc::new(table)), domain }
    }

    fn check(&self, path: &str, principal: Option<&Principal>) -> Result<(), Status> {
        if exempt::is_health_check(path) || exempt::is_reflection(path) {
            return Ok(());
        }
        if let Some(table) = &self.table {
            let access = table.get(path);
            if !access.is_some_and(|access| access.admits(principal)) {
                return Err(refusal(self.domain, principal, access));
            }
        }
        outside_scopes(self.domain, path, principal).map_or(Ok(()), Err)
    }
}

/// The status of a call that a method doesn't admit. `access` is what the table says of the method, if it names it.
pub(in crate::server) fn refusal(domain: Domain, principal: Option<&Principal>, access: Option<&Access>) -> Status {
    let Some(principal) = principal else {
        let message = "this method needs a token: sign in and send `authorization: Bearer TOKEN`";
        return NOT_SIGNED_IN.status(domain, message, &[]);
    };
    let mut roles = principal.roles().collect::<Vec<_>>().join(", ");
    if roles.is_empty() {
        roles.push_str("none");
    }
    let message = match access {
        Some(Access::Roles(admitted)) if !admitted.is_empty() => format!("the role {roles} may not call this method"),
        // No other role would help.
        _ => "nobody may call this method".to_owned(),
    };
    NOT_ALLOWED.status(domain, message, &[("role", &roles)])
}

/// The status of a call that the scopes of its principal don't permit, if they don't.
pub(in crate::server) fn outside_scopes(domain: Domain, path: &str, principal: Option<&Principal>) -> Option<Status> {
    if principal.is_none_or(|principal| principal.permits(path)) {
        return None;
    }
    let method = path.strip_prefix('/').unwrap_or(path);
    let message = "the key or token of this call is restricted to other methods; use one whose scopes have this method";
    Some(SCOPE_MISSING.status(domain, message, &[("method", method)]))
}

impl<S> Layer<S> for AuthorizationLayer {
    type Service = AuthorizationService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AuthorizationService { inner, layer: self.clone() }
    }
}

/// The service of [`AuthorizationLayer`].
#[derive(Clone, Debug)]
pub struct AuthorizationService<S> {
    inner: S,
    layer: AuthorizationLayer,
}

impl<S, A, B> Service<Request<A>> for AuthorizationService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Default,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = AuthorizeFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        match self.layer.check(request.uri().path(), request.extensions().get()) {
            Ok(()) => AuthorizeFuture { future: Some(self.inner.call(request)), refused: None },
            Err(status) => AuthorizeFuture { future: None, refused: Some(status) },
        }
    }
}

pin_project! {
    /// The future of [`AuthorizationService`].
    #[derive(Debug)]
    pub struct AuthorizeFuture<F> {
        // None: refused.
        #[pin]
        future: Option<F>,
        refused: Option<Status>,
    }
}

impl<F, B, E> Future for AuthorizeFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Default,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.future.as_pin_mut() {
            Some(future) => future.poll(cx),
            None => Poll::Ready(Ok(refuse(this.refused.take()))),
        }
    }
}
