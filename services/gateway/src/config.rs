//! Settings.

mod access_log;
mod hops;
mod http;
mod plans;
mod rate_limit;
mod routes_limit;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use meshwork_chassis::config::{AuthConfig, Listen, ListenerText, ProxyProtocolMode};
use meshwork_chassis::{ClientConfig, ServeError, ServerConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::access_log::AccessLogConfig;
pub use self::http::HttpConfig;
pub use self::plans::Plan;
pub use self::rate_limit::RateLimit;
pub use self::routes_limit::RouteLimit;

/// How many bytes of one answer are read ahead of its caller. Answers to pages are seldom larger; of streams, and of callers that
/// read slowly, it is what one of them holds.
const STREAM_WINDOW: NonZeroU32 = NonZeroU32::new(64 << 10).unwrap();

/// The settings of the gateway.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the gateway listens.
    pub listen: Listen,
    /// Whether connections to `listen` have to begin with a header of the PROXY protocol, by which a balancer that passes bytes on
    /// names its client: `off` or `v2`. With `v2` connections come from `gateway.server.trusted_proxies` alone.
    pub proxy_protocol: ProxyProtocolMode,
    /// Where it listens as well, each a text: `HOST:PORT`, `unix:PATH?mode=660` (a Unix socket; the mode says who may connect), or
    /// `systemd:NAME` (the sockets of that name which systemd has passed). `proxy=v2` demands the PROXY protocol there, as in
    /// `0.0.0.0:8443?proxy=v2` or `unix:PATH?mode=660&proxy=v2`.
    pub listeners: Vec<ListenerText>,
    /// How callers are known. The gateway has no account of its own and needs no credentials.
    pub auth: AuthConfig,
    /// How its port serves.
    pub server: ServerConfig,
    /// How this service calls others. Its `stream_window` is small, 64 KiB: what a slow caller has not taken of its answer
    /// waits in the service that gives it, and not here, where all callers' answers come together.
    pub client: ClientConfig,
    /// Whether callers may show API keys (`authorization: Bearer mwk_…` or `x-api-key: mwk_…`) and tokens of other issuers: users
    /// (`auth.users`) exchanges them for tokens of ours, which the upstreams get in their place. What is revoked is refused within
    /// a minute, and ends everywhere within five. Off: tokens of ours alone are taken.
    pub exchange: bool,
    /// Where the services are.
    pub upstreams: Upstreams,
    /// A file of TOML with routes: calls that go elsewhere, by weight or by headers, copies of calls, and upstreams beside
    /// `gateway.upstreams`. It is read again when it changes, as are the files that it names; one that can't be used changes nothing, and
    /// degrades the check `routes`. Empty: each method goes to the service that has it.
    pub routes: PathBuf,
    /// How many calls a client may make.
    pub rate_limit: RateLimit,
    /// What its port answers besides gRPC.
    pub http: HttpConfig,
    /// What it logs of requests.
    pub access_log: AccessLogConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)).into(),
            proxy_protocol: ProxyProtocolMode::Off,
            listeners: Vec::new(),
            auth: AuthConfig::default(),
            server: ServerConfig::default().public(),
            client: ClientConfig { stream_window: STREAM_WINDOW, ..ClientConfig::default() },
            exchange: true,
            upstreams: Upstreams::default(),
            routes: PathBuf::new(),
            rate_limit: RateLimit::default(),
            http: HttpConfig::default(),
            access_log: AccessLogConfig::default(),
        }
    }
}

impl Config {
    /// Whether the gateway can work by these settings.
    ///
    /// # Errors
    /// When a value is out of its range; the error names the key.
    pub fn check(&self) -> Result<(), ServeError> {
        self.rate_limit.check()?;
        self.access_log.check()?;
        self.http.check()
    }
}

/// Where the services are, each a gRPC target such as `dns:///HOST:PORT`, or `http://HOST:PORT`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Upstreams {
    /// The users service.
    pub users: String,
    /// The products service.
    pub products: String,
    /// The orders service.
    pub orders: String,
    /// The notifications service.
    pub notifications: String,
}

impl Default for Upstreams {
    fn default() -> Self {
        let local = |port: u16| format!("http://127.0.0.1:{port}");
        Self { users: local(8081), products: local(8082), orders: local(8083), notifications: local(8084) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s7_the_gateway_reads_little_ahead_of_its_callers() {
        assert!(Config::default().client.stream_window.get() <= 64 << 10);
        assert!(Config::default().client.stream_window < ClientConfig::default().stream_window);
    }

    #[test]
    fn s16_what_the_gateway_takes_fits_its_services_with_what_it_adds() {
        // `te`, `grpc-timeout`, `user-agent`, the number of the attempt, and an authority that is longer than the
        // caller's.
        const ADDED: u32 = 1 << 10;
        let (edge, service) = (Config::default().server, ServerConfig::default());
        assert!(edge.max_header_list_size + ADDED <= service.max_header_list_size);
    }
}
