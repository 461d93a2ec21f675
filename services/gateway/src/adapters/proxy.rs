//! Passes calls on to their upstreams, undecoded.

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::{CONNECTION, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version};
use meshwork_chassis::server::PORT_SERVICES;
use tokio_util::sync::CancellationToken;
use tonic::TimeoutExpired;
use tonic::body::Body;
use tonic::transport::Channel;
use tower::{Layer, Service, ServiceExt};

use super::body::Answer;
use super::errors::{method_unknown, upstream_too_slow, upstream_unavailable};
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
const GRPC_TIMEOUT: &str = "grpc-timeout";
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
        let timeout = request.headers().get(GRPC_TIMEOUT).and_then(duration);
        *request.version_mut() = Version::HTTP_2;
        drop_hop_by_hop(request.headers_mut());

        let call = channel.clone().oneshot(request);
        let answer = match timeout {
            None => call.await,
            Some(timeout) => match tokio::time::timeout(timeout.saturating_sub(EARLY), call).await {
                Ok(answer) => answer,
                Err(_) => return upstream_too_slow(upstream).into_http(),
            },
        };
        match answer {
            Ok(mut response) => {
                drop_hop_by_hop(response.headers_mut());
                let stop = server_streaming.then(|| self.shutdown.clone());
                response.map(|body| Body::new(Answer::new(body, upstream, stop)))
            }
            Err(error) if is_timeout(&error) => upstream_too_slow(upstream).into_http(),
            Err(error) => {
                let cause = chain(&error);
                tracing::warn!(upstream = upstream.as_str(), cause, "a call can't be passed on");
                upstream_unavailable(upstream).into_http()
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

/// The time that `grpc-timeout` gives: up to eight digits and a unit.
fn duration(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

fn sources<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn is_timeout(error: &tonic::transport::Error) -> bool {
    sources(error).any(|error| error.is::<TimeoutExpired>())
}

fn chain(error: &tonic::transport::Error) -> String {
    sources(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_has_them() {
        let read = |text: &'static str| duration(&HeaderValue::from_static(text));
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(read("3M"), Some(Duration::from_secs(180)));
        assert_eq!(read("4S"), Some(Duration::from_secs(4)));
        assert_eq!(read("5m"), Some(Duration::from_millis(5)));
        assert_eq!(read("6u"), Some(Duration::from_micros(6)));
        assert_eq!(read("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for text in ["", "S", "5", "5x", "-5S", "+5S", "999999999S", "5 S"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

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
