//! The layer that finds out who calls.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use pin_project_lite::pin_project;
use tonic::Status;
use tower_layer::Layer;
use tower_service::Service;

use super::verification::{VERIFIED_WITHIN, verified};
use super::{Principal, refuse};
use crate::server::arriving::waiting_bytes;
use crate::server::budget::Budgets;
use crate::server::{Domain, Peer, is_health_check, is_reflection};

/// Verifies the credentials of calls.
///
/// ```
/// use http::HeaderMap;
/// use meshwork::server::Peer;
/// use meshwork::server::auth::{Authenticated, Authenticator, Principal};
///
/// /// Knows services by their certificates. That of a proxy says nothing of those whose calls it passes on.
/// struct Certificates;
///
/// impl Authenticator for Certificates {
///     fn authenticate(&self, _: &HeaderMap, peer: Option<&Peer>) -> Authenticated {
///         let identity = peer.filter(|peer| !peer.is_proxy()).and_then(Peer::identity);
///         Authenticated::Now(Ok(identity.map(|identity| Principal::new(identity.as_str(), ["service"]))))
///     }
/// }
/// ```
pub trait Authenticator: Send + Sync + 'static {
    /// Who calls, by the headers of the call and the other end of its connection. What is known already, such as a verified
    /// token that is cached, is answered at once; only the rest waits.
    ///
    /// Where a [trusted proxy](crate::server::Builder::trusted_proxies) of a server passes the call on, `peer` is that
    /// [proxy](Peer::is_proxy) at the address of its client. Who goes by certificates has to ask for that: else whoever calls
    /// through the proxy is taken for it.
    fn authenticate(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Authenticated;

    /// What [`authenticate`](Authenticator::authenticate) would find, as far as it can be told at next to no cost: without
    /// checking a signature, asking anybody or keeping anything. That is a call without credentials, with credentials that are
    /// none by their looks, or with some that were verified before. `None`, which is the default: only `authenticate` can tell.
    ///
    /// A server asks this first, and refuses callers who are over their limit before it lets their credentials be verified.
    fn recall(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Option<Result<Option<Principal>, Status>> {
        let _ = (headers, peer);
        None
    }

    /// What time it is, by the clock that [expiry](Principal::expires_at) is told by. It is read once for a call whose principal
    /// expires. The default is the system's.
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// What an [`Authenticator`] found.
pub enum Authenticated {
    /// The principal; `None` when the call has no credentials. An error refuses the call.
    Now(Result<Option<Principal>, Status>),
    /// As [`Authenticated::Now`], in a while. Servers and layers wait 10 s for it at most, unless
    /// [`Builder::verification_timeout`](crate::server::Builder::verification_timeout) of a server says otherwise, and answer
    /// UNAVAILABLE then.
    Later(BoxFuture<'static, Result<Option<Principal>, Status>>),
}

/// Puts the [`Principal`] of a call into the extensions of its request, and refuses calls whose credentials are wrong.
/// Health checks and reflection pass without being looked at. By default nobody is known.
///
/// Calls whose credentials are verified [later](Authenticated::Later) wait 10 s at most, and are UNAVAILABLE then. Meanwhile
/// they count in the budget [`Resource::ArrivingBytes`](crate::server::Resource::ArrivingBytes) of their address, by default in
/// budgets of the layer's own; what is more is RESOURCE_EXHAUSTED.
#[derive(Clone, Default)]
pub struct AuthenticationLayer {
    authenticator: Option<Arc<dyn Authenticator>>,
    budgets: Budgets,
    domain: Domain,
}

impl fmt::Debug for AuthenticationLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticationLayer")
            .field("authenticates", &self.authenticator.is_some())
            .finish_non_exhaustive()
    }
}

impl AuthenticationLayer {
    /// Knows callers by `authenticator`.
    pub fn new(authenticator: Arc<dyn Authenticator>) -> Self {
        Self { authenticator: Some(authenticator), ..Self::default() }
    }

    /// Counts calls that wait in `budgets`, as other layers may.
    ///
    /// ```
    /// use meshwork::server::Budgets;
    /// use meshwork::server::auth::AuthenticationLayer;
    ///
    /// let layer = AuthenticationLayer::default().budgets(Budgets::default());
    /// ```
    #[must_use]
    pub fn budgets(mut self, budgets: Budgets) -> Self {
        self.budgets = budgets;
        self
    }

    /// Errors of the wait carry `domain`; the others are the authenticator's.
    ///
    /// ```
    /// use meshwork::server::Domain;
    /// use meshwork::server::auth::AuthenticationLayer;
    ///
    /// let layer = AuthenticationLayer::default().domain(Domain::new("shop.example.com"));
    /// ```
    #[must_use]
    pub fn domain(mut self, domain: Domain) -> Self {
        self.domain = domain;
        self
    }
}

impl<S> Layer<S> for AuthenticationLayer {
    type Service = AuthenticationService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AuthenticationService { inner, layer: self.clone() }
    }
}

/// The service of [`AuthenticationLayer`].
#[derive(Clone)]
pub struct AuthenticationService<S> {
    inner: S,
    layer: AuthenticationLayer,
}

impl<S, A, B> Service<Request<A>> for AuthenticationService<S>
where
    S: Service<Request<A>, Response = Response<B>> + Clone,
    B: Default,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = AuthenticateFuture<S, S::Future, A>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let path = request.uri().path();
        let Some(authenticator) = &self.layer.authenticator else {
            return State::Calling { future: self.inner.call(request) }.into();
        };
        if is_health_check(path) || is_reflection(path) {
            return State::Calling { future: self.inner.call(request) }.into();
        }
        let peer = request.extensions().get::<Peer>();
        let found = match authenticator.recall(request.headers(), peer) {
            Some(recalled) => Authenticated::Now(recalled),
            None => authenticator.authenticate(request.headers(), peer),
        };
        match found {
            Authenticated::Now(Ok(principal)) => {
                if let Some(principal) = principal {
                    request.extensions_mut().insert(principal);
                }
                State::Calling { future: self.inner.call(request) }.into()
            }
            Authenticated::Now(Err(status)) => State::Refused { status: Some(status) }.into(),
            Authenticated::Later(verification) => {
                let AuthenticationLayer { budgets, domain, .. } = &self.layer;
                let (budgets, domain) = (budgets.clone(), *domain);
                let network = peer.and_then(Peer::network_key);
                let address = network.map(|network| budgets.account_of_address(network));
                let (parts, body) = request.into_parts();
                let bytes = waiting_bytes(&parts);
                let request = Request::from_parts(parts, body);
                let verifying = async move {
                    verified(verification, VERIFIED_WITHIN, bytes, address.as_ref(), &budgets, domain).await
                };
                let verifying = Box::pin(verifying);
                // The instance that was polled is the ready one.
                let clone = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, clone);
                State::Verifying { verifying, next: Some((inner, request)) }.into()
            }
        }
    }
}

pin_project! {
    /// The future of [`AuthenticationService`].
    pub struct AuthenticateFuture<S, F, A> {
        #[pin]
        state: State<S, F, A>,
    }
}

impl<S, F, A> From<State<S, F, A>> for AuthenticateFuture<S, F, A> {
    fn from(state: State<S, F, A>) -> Self {
        Self { state }
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, F, A> {
        /// The inner service has the call.
        Calling {
            #[pin]
            future: F,
        },
        /// The credentials are looked at.
        Verifying {
            verifying: BoxFuture<'static, Result<Option<Principal>, Status>>,
            next: Option<(S, Request<A>)>,
        },
        /// The call is refused.
        Refused { status: Option<Status> },
    }
}

impl<S, A, B> Future for AuthenticateFuture<S, S::Future, A>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Default,
{
    type Output = Result<Response<B>, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project().state.project() {
                StateProjection::Calling { future } => return future.poll(cx),
                StateProjection::Refused { status } => return Poll::Ready(Ok(refuse(status.take()))),
                StateProjection::Verifying { verifying, next } => {
                    match (ready!(verifying.as_mut().poll(cx)), next.take()) {
                        (Ok(principal), Some((mut inner, mut request))) => {
                            if let Some(principal) = principal {
                                request.extensions_mut().insert(principal);
                            }
                            State::Calling { future: inner.call(request) }
                        }
                        (Err(status), _) => State::Refused { status: Some(status) },
                        (Ok(_), None) => State::Refused { status: None },
                    }
                }
            };
            self.as_mut().project().state.set(next);
        }
    }
}
