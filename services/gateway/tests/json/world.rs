//! A gateway between tests and its upstreams: an [`Issuer`] as users service, and fakes of the others.

use std::num::NonZeroU32;
use std::time::Duration;

use meshwork_chassis::config::{AuthConfig, Listen};
use meshwork_chassis::{CancellationToken, Health, ServeError, ServerConfig};
use meshwork_gateway::{Config, RateLimit, Upstreams};
use meshwork_testkit::Issuer;
use tokio::task::JoinHandle;

use crate::client::{Answer, send};
use crate::upstream::Upstream;

pub struct World {
    pub issuer: Issuer,
    pub upstream: Upstream,
    pub address: String,
    gateway: JoinHandle<Result<(), ServeError>>,
}

impl World {
    pub async fn start() -> Self {
        let (issuer, upstream) = (Issuer::start().await, Upstream::start().await);
        let listen = Listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listen.address().to_string();
        let config = Config {
            listen,
            auth: AuthConfig { users: issuer.target(), ..AuthConfig::default() },
            upstreams: Upstreams {
                users: issuer.target(),
                orders: upstream.target.clone(),
                products: upstream.target.clone(),
                // Nothing listens there.
                notifications: "http://127.0.0.1:1".to_owned(),
            },
            server: ServerConfig { drain_delay: Duration::ZERO, ..ServerConfig::default().public() },
            rate_limit: RateLimit {
                burst: NonZeroU32::new(1_000_000).unwrap(),
                per_second: 1_000_000.0,
                ..RateLimit::default()
            },
            ..Config::default()
        };
        let gateway = tokio::spawn(meshwork_gateway::serve(config, Health::new(), CancellationToken::new()));
        let world = Self { issuer, upstream, address, gateway };
        // It is ready before it has the keys by which tokens are verified.
        let ready = async {
            while world.call("GET", "/v1/orders/warm-up", &[], "").await.status == 503 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), ready).await.expect("it is ready in time");
        world
    }

    /// Asks as a customer.
    pub async fn call(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.call_as("customer", method, target, headers, body).await
    }

    /// Asks as somebody of a role. A body is JSON, unless the headers say another type.
    pub async fn call_as(
        &self,
        role: &str,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let token = format!("Bearer {}", self.issuer.token("anna", role));
        let mut all = vec![("authorization", token.as_str())];
        all.extend(headers);
        if !body.is_empty() && headers.iter().all(|(name, _)| *name != "content-type") {
            all.push(("content-type", "application/json"));
        }
        send(&self.address, method, target, &all, body).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.gateway.abort();
    }
}
