//! A service under the layer, and limiters on a Redis.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use http::{Request, Response};
use meshwork::server::rate::{RateLimitLayer, RateLimiter, RateLimiterBuilder, RedisSettings, Rule, Source};
use meshwork::server::{Domain, Peer, auth::Refused};
use meshwork_testkit::Redis;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer as _, ServiceExt as _};

pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The bound of every wait for something that happens in the background.
const PATIENCE: Duration = Duration::from_secs(30);

/// A call from an address.
pub fn call_from(address: &str) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = "/shop.v1.Orders/Get".parse().unwrap();
    request.extensions_mut().insert(Peer::at(Some(format!("{address}:9").parse().unwrap())));
    request
}

/// What a call through `layer` ends with. The service refuses calls that have a header `bad`, as identity would.
pub async fn send(layer: &RateLimitLayer, request: Request<Body>) -> Result<(), Status> {
    let service = layer.layer(tower::service_fn(async |request: Request<Body>| {
        let mut response = if request.headers().contains_key("bad") {
            let mut response: Response<Body> = Status::unauthenticated("bad token").into_http();
            response.extensions_mut().insert(Refused);
            response
        } else {
            Status::ok("").into_http()
        };
        response.headers_mut().insert("reached", "yes".parse().unwrap());
        Ok::<_, Infallible>(response)
    }));
    let response = service.oneshot(request).await.unwrap();
    let status = Status::from_header_map(response.headers()).unwrap();
    if status.code() == Code::Ok { Ok(()) } else { Err(status) }
}

/// A layer of one rule.
pub fn layer(limiter: &RateLimiter, rule: Rule) -> RateLimitLayer {
    RateLimitLayer::new(limiter.clone(), [rule], Domain::new("shop.example.com"))
}

/// A namespace of the test's own, in a Redis that others may use too.
pub fn namespace(test: &str) -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{test}-{}-{}", std::process::id(), since.as_nanos())
}

/// Settings without a budget that a busy machine could miss: for tests of what Redis decides.
pub fn patient(redis: &Redis) -> RedisSettings {
    RedisSettings::new(redis.url()).budget(PATIENCE)
}

/// A limiter that is connected.
pub async fn connected(builder: RateLimiterBuilder, settings: RedisSettings) -> RateLimiter {
    let limiter = builder.redis(settings).unwrap();
    decided_by(&limiter, Source::Redis).await;
    limiter
}

/// Waits until decisions of `limiter` come from `source`.
pub async fn decided_by(limiter: &RateLimiter, source: Source) {
    let ample = Rule::new("ample", meshwork::server::rate::Rate::per_second(1_000_000, 1e6).unwrap());
    let deadline = Instant::now() + PATIENCE;
    let before = limiter.decisions().admitted(source);
    while limiter.decisions().admitted(source) == before {
        assert!(Instant::now() < deadline, "no decision by {source:?}: {limiter:?}");
        limiter.decide(&ample, "probe").await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until `holds`.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
