//! Passes calls on to their upstreams, undecoded.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::{CONNECTION, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version};
use meshwork::{Channel, deadline};
use meshwork_chassis::server::PORT_SERVICES;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::body::Body;
use tower::{Layer, Service};

use super::body::Answer;
use super::errors::{method_unknown, of_mesh, upstream_unavailable};
use crate::app::App;
use crate::domain::{Route, Upstream};

/// Headers that belong to a connection and not to a call (RFC 9110, 7.6.1). `te` goes too, unless it says `trailers`.
const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    HOST,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
/// How much earlier than the caller's deadline the gateway answers: the server around it would say CANCELLED.
const EARLY: Duration = Duration::from_millis(5);

/// Whether the gateway answers the method at `path` itself: health and reflection.
pub fn is_own(path: &str) -> bool {
    let service = path.strip_prefix('/').and_then(|path| path.split_once('/')).map(|(service, _)| service);
    service.is_some_and(|service| PORT_SERVICES.contains(&service))
}

/// The channels to the upstreams.
pub type Channels = HashMap<Upstream, Channel>;

/// Takes the calls that a route leads elsewhere, and leaves health and reflection to the service that it wraps.
#[derive(Clone)]
pub struct ProxyLayer(Arc<Proxy>);

impl ProxyLayer {
    /// Passes calls on by the routes of `app` over `channels`. Streams end when `shutdown` is cancelled.
    pub fn new(app: App, channels: Channels, shutdown: CancellationToken) -> Self {
        Self(Arc::new(Proxy { app, channels, shutdown }))
    }
}

impl<S> Layer<S> for ProxyLayer {
    type Service = ProxyService<S>;

    fn layer(&self, own: S) -> Self::Service {
        ProxyService { own, proxy: self.0.clone() }
    }
}

/// The service that [`ProxyLayer`] makes.
#[derive(Clone)]
pub struct ProxyService<S> {
    own: S,
    proxy: Arc<Proxy>,
}

impl<S> Service<Request<Body>> for ProxyService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.own.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if is_own(request.uri().path()) {
            return Box::pin(self.own.call(request));
        }
        let proxy = self.proxy.clone();
        Box::pin(async move { Ok(proxy.pass(request).await) })
    }
}

struct Proxy {
    app: App,
    channels: Channels,
    shutdown: CancellationToken,
}

impl Proxy {
    async fn pass(&self, mut request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        let Some(Route { upstream, server_streaming }) = self.app.find_route(path) else {
            return method_unknown(path).into_http();
        };
        let Some(channel) = self.channels.get(&upstream) else { return upstream_unavailable(upstream).into_http() };
        *request.version_mut() = Version::HTTP_2;
        drop_hop_by_hop(request.headers_mut());

        // A channel is always ready.
        let call = channel.clone().call(request);
        let answer = match deadline::current() {
            Some(at) => deadline::scope(at.checked_sub(EARLY).unwrap_or(at), call).await,
            None => call.await,
        };
        match answer {
            Ok(mut response) => {
                drop_hop_by_hop(response.headers_mut());
                let stop = server_streaming.then(|| self.shutdown.clone());
                response.map(|body| Body::new(Answer::new(body, upstream, stop)))
            }
            Err(status) => {
                if status.code() != Code::DeadlineExceeded {
                    tracing::warn!(upstream = upstream.as_str(), cause = status.message(), "a call can't be passed on");
                }
                of_mesh(upstream, status.code()).into_http()
            }
        }
    }
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    // `connection` may name more of them.
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
    if headers.get(TE).is_some_and(|value| value != HeaderValue::from_static("trailers")) {
        headers.remove(TE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_the_connection_stay_behind() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, x-this-hop"),
            ("x-this-hop", "1"),
            ("keep-alive", "5"),
            ("upgrade", "h2c"),
            ("te", "trailers"),
            ("authorization", "Bearer x"),
            ("grpc-timeout", "1S"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        drop_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "grpc-timeout", "te"]);
        headers.insert(TE, HeaderValue::from_static("gzip"));
        drop_hop_by_hop(&mut headers);
        assert!(!headers.contains_key(TE));
    }
}
