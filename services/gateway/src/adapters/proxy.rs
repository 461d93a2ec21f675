//! Passes calls on to their upstreams, undecoded.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::header::{CONNECTION, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version};
use meshwork::Channel;
use tonic::Code;
use tonic::body::Body;
use tower::Service;

use super::body::Answer;
use super::errors::{method_unknown, of_mesh, service_required, upstream_unavailable};
use crate::app::App;
use crate::domain::{SERVICE, Upstream};

/// Headers that belong to a connection and not to a call (RFC 9110, 7.6.1). `te` goes too, unless it says `trailers`.
const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    HOST,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
/// The channels to the upstreams.
pub type Channels = HashMap<Upstream, Channel>;

/// Passes on the calls that the port itself has no method for.
#[derive(Clone)]
pub struct Proxy(Arc<Routed>);

struct Routed {
    app: App,
    channels: Channels,
}

impl Proxy {
    /// Passes calls on by the routes of `app` over `channels`.
    pub fn new(app: App, channels: Channels) -> Self {
        Self(Arc::new(Routed { app, channels }))
    }
}

impl Service<Request<Body>> for Proxy {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A channel is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let routed = self.0.clone();
        Box::pin(async move { Ok(routed.pass(request).await) })
    }
}

impl Routed {
    async fn pass(&self, mut request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        let Some(route) = self.app.find_route(path) else {
            return method_unknown(path).into_http();
        };
        let named = request.headers().get_all(SERVICE).iter().map(HeaderValue::as_bytes);
        let Some(upstream) = route.choose(named) else { return service_required(route.upstreams).into_http() };
        let Some(channel) = self.channels.get(&upstream) else { return upstream_unavailable(upstream).into_http() };
        *request.version_mut() = Version::HTTP_2;
        drop_hop_by_hop(request.headers_mut());
        // It was said to the gateway.
        request.headers_mut().remove(SERVICE);

        match channel.clone().call(request).await {
            Ok(mut response) => {
                drop_hop_by_hop(response.headers_mut());
                response.map(|body| Body::new(Answer::new(body, upstream)))
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
