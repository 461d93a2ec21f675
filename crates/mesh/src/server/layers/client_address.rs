//! Tells handlers whom a call counts for where callers are told apart by address.

use std::task::{Context, Poll};

use http::Request;
use tower_layer::Layer;
use tower_service::Service;

use crate::server::client_address::TrustedProxies;

/// Adds the [`ClientAddress`](crate::server::ClientAddress) of its caller to each request. A [server](crate::server::Server) does it by
/// itself, and counts by it, with [`trusted_proxies`](crate::server::Builder::trusted_proxies).
#[derive(Clone, Debug)]
pub struct ClientAddressLayer {
    trusted: TrustedProxies,
}

impl ClientAddressLayer {
    /// Believes the addresses that these proxies name.
    ///
    /// ```
    /// use meshwork::Server;
    /// use meshwork::server::{ClientAddressLayer, TrustedProxies};
    ///
    /// let server = Server::builder().layer(ClientAddressLayer::new(TrustedProxies::new(["10.0.0.0/8"])?));
    /// # Ok::<_, meshwork::server::InvalidProxy>(())
    /// ```
    pub fn new(trusted: TrustedProxies) -> Self {
        Self { trusted }
    }
}

impl<S> Layer<S> for ClientAddressLayer {
    type Service = ClientAddressService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ClientAddressService { inner, trusted: self.trusted.clone() }
    }
}

/// The service of [`ClientAddressLayer`].
#[derive(Clone, Debug)]
pub struct ClientAddressService<S> {
    inner: S,
    trusted: TrustedProxies,
}

impl<S: Service<Request<A>>, A> Service<Request<A>> for ClientAddressService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        let client = self.trusted.client(request.extensions(), request.headers());
        request.extensions_mut().insert(client);
        self.inner.call(request)
    }
}
