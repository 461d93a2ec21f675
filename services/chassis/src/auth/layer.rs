//! The layer that finds out who calls and refuses who may not.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response, Uri, header};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::access::{AccessTable, admits};
use super::{Principal, TokenError, Verifier};
use crate::errors::{BAD_TOKEN, KEYS_UNAVAILABLE, NOT_ALLOWED, NOT_SIGNED_IN};

/// Puts the [`Principal`] into the request's extensions, after it was held against the method's access option.
///
/// Health checks and reflection pass without a token; paths outside our contracts pass too, for the router to refuse.
#[derive(Clone)]
pub struct AuthLayer {
    verifier: Arc<Verifier>,
    access: Arc<AccessTable>,
    domain: &'static str,
}

impl AuthLayer {
    /// A layer whose errors carry `domain`.
    pub fn new(verifier: Arc<Verifier>, domain: &'static str) -> Self {
        Self { verifier, access: Arc::new(AccessTable::from_contracts()), domain }
    }

    async fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<Principal, Status> {
        let Some(callers) = self.access.callers(uri.path()) else { return Ok(Principal::Anonymous) };
        let principal = match headers.get(header::AUTHORIZATION) {
            None => Principal::Anonymous,
            Some(value) => {
                let token = value.to_str().ok().and_then(bearer).ok_or(TokenError::Invalid);
                let principal = match token {
                    Ok(token) => self.verifier.verify(token).await,
                    Err(error) => Err(error),
                };
                principal.map_err(|error| {
                    let kind = match error {
                        TokenError::KeysUnavailable => &KEYS_UNAVAILABLE,
                        TokenError::Invalid | TokenError::Expired => &BAD_TOKEN,
                    };
                    kind.status(self.domain, error, &[])
                })?
            }
        };
        if admits(callers, &principal) {
            Ok(principal)
        } else if principal == Principal::Anonymous {
            Err(NOT_SIGNED_IN.status(
                self.domain,
                "this method needs a token: sign in and send `authorization: Bearer TOKEN`",
                &[],
            ))
        } else {
            let role = principal.role().map_or("none", super::Role::as_str);
            Err(NOT_ALLOWED.status(self.domain, format!("the role {role} may not call this method"), &[("role", role)]))
        }
    }
}

/// The token of an `authorization` header; the scheme's case doesn't matter (RFC 9110).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

impl<S> Layer<S> for AuthLayer {
    type Service = AuthService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AuthService { inner, layer: self.clone() }
    }
}

/// The service that [`AuthLayer`] makes.
#[derive(Clone)]
pub struct AuthService<S> {
    inner: S,
    layer: AuthLayer,
}

impl<S> Service<Request<Body>> for AuthService<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The clone may not be ready; the instance that was polled is.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let layer = self.layer.clone();
        Box::pin(async move {
            match layer.check(request.uri(), request.headers()).await {
                Ok(principal) => {
                    request.extensions_mut().insert(principal);
                    inner.call(request).await
                }
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}
