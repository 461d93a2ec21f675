//! Channels to other services, and the one policy by which all calls between services go.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use meshwork::connect::TlsOptions;
use meshwork::metrics::ClientMetrics;
use meshwork::policy::Policy;
use meshwork::transport::Http2Options;
use meshwork::{BuildError, Channel};
use meshwork_api::FILE_DESCRIPTOR_SET;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ServeError;
use crate::metrics::ServiceMetrics;

/// The policy that holds unless a service is told another: a gRPC service config.
///
/// Calls end after 10 s, streams when they end. What only reads is tried up to three times, each try for 3 s. So is a
/// write whose request has a `request_id`, but an attempt may take all of the 10 s, so that one that is slow isn't done
/// beside itself: the channel gives the request an id if it has none, and the service carries out what has the same id
/// once. All other writes are repeated only when they did not reach the service, since a second try could do them
/// twice. A service that says it is not serving gets no calls.
pub const POLICY: &str = include_str!("policy.json");

/// What of it asks servers for their health.
const HEALTH: &str = r#""healthCheckConfig": {"serviceName": ""},"#;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait before the next try to find or connect to servers, at first and at most: services restart within seconds.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How long a connection may be silent before it is probed, and how long the probe may take.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// How a service calls others.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientConfig {
    /// A file with the policy of calls (timeouts, retries, circuit breaker, balancing), a gRPC service config in JSON. It
    /// is read again when it changes. Empty: the policy that is built in.
    pub policy: PathBuf,
    /// TLS to the services; without roots calls go in plain text.
    pub tls: ClientTlsConfig,
    /// How many bytes of one answer are read ahead of who takes them: the window of a stream of HTTP/2. They are held in memory
    /// meanwhile. One answer can't be faster than the window in one round trip: 64 KiB are 64 MB/s at 1 ms.
    pub stream_window: NonZeroU32,
    /// Measures the calls; no setting.
    #[serde(skip)]
    pub metrics: Option<ServiceMetrics>,
    /// Whether servers aren't asked for their health, and count as healthy while they are connected; no setting. A file with the
    /// policy says it itself.
    #[serde(skip)]
    pub skips_health: bool,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            policy: PathBuf::new(),
            tls: ClientTlsConfig::default(),
            stream_window: const { NonZeroU32::new(2 << 20).unwrap() },
            metrics: None,
            skips_health: false,
        }
    }
}

/// How a service speaks TLS to others. The files are read again when they change.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientTlsConfig {
    /// A PEM file with the roots of the services' certificates. Empty: no TLS.
    pub ca: PathBuf,
    /// A PEM file with the certificate that is shown to services that ask for one. Empty: none.
    pub certificate: PathBuf,
    /// A PEM file with its key.
    pub key: PathBuf,
}

impl ClientTlsConfig {
    fn options(&self) -> Option<TlsOptions> {
        let set = |path: &PathBuf| !path.as_os_str().is_empty();
        let options = set(&self.ca).then(|| TlsOptions::new().ca_certificate_file(&self.ca))?;
        if set(&self.certificate) { Some(options.identity_files(&self.certificate, &self.key)) } else { Some(options) }
    }
}

impl ClientConfig {
    /// A channel to the `target` that the setting `key` names. It connects at the first call and reconnects by itself.
    ///
    /// Targets are gRPC's names: `dns:///HOST:PORT`, `static:///A:PORT,B:PORT`, `unix:PATH`; `http://HOST:PORT` is as good.
    /// `k8s:///SERVICE.NAMESPACE:PORT` follows the EndpointSlices of a Kubernetes service, in a binary that was built with
    /// the feature `kubernetes`; calls and certificates have the name SERVICE.NAMESPACE then.
    ///
    /// # Errors
    /// When the target is none, or the file holds no policy.
    pub fn channel(&self, key: &str, target: &str) -> Result<Channel, ServeError> {
        let metrics = self.metrics.as_ref().map(|metrics| metrics.client(target)).transpose().map_err(|error| {
            ServeError::new(
                format!("the contracts can't be read: {error}"),
                "this program is damaged; install it again",
            )
        })?;
        self.build(target, metrics).map_err(|error| match &error {
            BuildError::Policy(_) => ServeError::new(
                format!("{error} ({})", self.policy.display()),
                "correct the file that the service's setting `client.policy` names, or take the setting out",
            ),
            BuildError::Tls(_) => {
                ServeError::new(&error, "correct the files that the service's setting `client.tls` names")
            }
            _ => {
                ServeError::new(&error, format!("set `{key}` to the address of the service, such as dns:///HOST:PORT"))
            }
        })
    }

    fn build(&self, target: &str, metrics: Option<ClientMetrics>) -> Result<Channel, BuildError> {
        let builder = Channel::builder();
        let builder = match metrics {
            Some(metrics) => builder.observer(metrics),
            None => builder,
        };
        let builder = if self.policy.as_os_str().is_empty() {
            builder.policy(Policy::parse(&built_in(self.skips_health))?)
        } else {
            builder.policy_file(&self.policy)
        };
        let builder = match self.tls.options() {
            Some(tls) => builder.tls(tls),
            None => builder,
        };
        // The window of the connection stays as large as it is: streams that nobody reads must not hold up the others.
        let http2 = Http2Options { stream_window: self.stream_window.get(), ..Http2Options::default() };
        builder
            .http2(http2)
            .descriptors(FILE_DESCRIPTOR_SET)
            .connect_timeout(CONNECT_TIMEOUT)
            .reconnect_backoff(BACKOFF.0, BACKOFF.1)
            .http2_keep_alive_interval(KEEP_ALIVE.0)
            .keep_alive_timeout(KEEP_ALIVE.1)
            // Health is followed all the time, and connections between services are few.
            .idle_timeout(None)
            .connect_lazy(target)
    }
}

/// The policy that is built in, without checks of health where those are skipped.
fn built_in(skips_health: bool) -> Cow<'static, str> {
    if skips_health { POLICY.replacen(HEALTH, "", 1).into() } else { POLICY.into() }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use meshwork::policy::{Descriptors, Repeat};
    use prost::Message;
    use prost_types::method_options::IdempotencyLevel;
    use prost_types::{DescriptorProto, FileDescriptorSet};
    use tokio::io::{AsyncReadExt as _, BufReader};
    use tokio::net::TcpListener;
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    use super::*;

    #[test]
    fn the_policy_without_checks_of_health_is_the_same_else() {
        let of = |skips| serde_json::from_str::<serde_json::Value>(&built_in(skips)).unwrap();
        let (mut with, without) = (of(false), of(true));
        assert!(with.as_object_mut().unwrap().remove("healthCheckConfig").is_some());
        assert_eq!(with, without);
    }

    #[test]
    fn the_policy_knows_every_method_of_the_contracts() {
        let policy =
            Policy::parse(POLICY).unwrap().with_descriptors(&Descriptors::decode(FILE_DESCRIPTOR_SET).unwrap());
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let mut with_id = HashSet::new();
        for file in &set.file {
            let has_id = |message: &&DescriptorProto| message.field.iter().any(|field| field.name() == "request_id");
            let name = |message: &DescriptorProto| format!(".{}.{}", file.package(), message.name());
            with_id.extend(file.message_type.iter().filter(has_id).map(name));
        }
        let (mut seen, mut by_id) = (0, 0);
        for file in set.file.iter().filter(|file| file.package().starts_with("meshwork.")) {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let rules = policy.method(&path);
                    let streams = method.server_streaming() || method.client_streaming();
                    let timeout = (!streams).then_some(Duration::from_secs(10));
                    assert_eq!(rules.timeout, timeout, "{path}");
                    let level = method
                        .options
                        .as_ref()
                        .map_or(IdempotencyLevel::IdempotencyUnknown, |options| options.idempotency_level());
                    let reads = level == IdempotencyLevel::NoSideEffects;
                    let has_id = with_id.contains(method.input_type());
                    let repeated = matches!(rules.repeat, Repeat::Retry(_));
                    assert_eq!(repeated, reads || has_id, "{path}: what reads is repeated, and what has a request id");
                    let needs_id = rules.request_id.is_some_and(|id| id.required);
                    assert_eq!(needs_id, has_id && !reads, "{path}: a write is repeated by its id only");
                    let attempt = (reads && !streams).then_some(Duration::from_secs(3));
                    assert_eq!(rules.attempt_timeout, attempt, "{path}");
                    seen += 1;
                    by_id += usize::from(needs_id);
                }
            }
        }
        assert!(seen > 20 && by_id > 5, "{seen} methods, {by_id} with request ids");
        assert_eq!(policy.method("/grpc.health.v1.Health/Watch").timeout, None);
    }

    #[tokio::test]
    async fn a_target_or_a_policy_that_is_none_is_told_with_its_setting() {
        let config = ClientConfig::default();
        for target in ["http://127.0.0.1:1", "dns:///users:50051", "static:///127.0.0.1:1,127.0.0.1:2", "users:50051"] {
            config.channel("orders.products", target).unwrap();
        }
        let refused = config.channel("orders.products", "tcp://users:1").unwrap_err();
        assert!(refused.hint.contains("`orders.products`"), "{refused:?}");
        let refused = ClientConfig { policy: "/no/such/policy.json".into(), ..ClientConfig::default() };
        let refused = refused.channel("orders.products", "users:50051").unwrap_err();
        assert!(refused.sentence.contains("/no/such/policy.json"), "{refused}");
        assert!(refused.hint.contains("`client.policy`"), "{refused:?}");
    }

    #[tokio::test]
    async fn s7_servers_are_told_how_much_of_an_answer_is_read_ahead() {
        const PREFACE: usize = 24;
        const INITIAL_WINDOW_SIZE: u16 = 4;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = format!("http://{}", listener.local_addr().unwrap());
        let config = ClientConfig { stream_window: NonZeroU32::new(70_000).unwrap(), ..ClientConfig::default() };
        let mut client = HealthClient::new(config.channel("--target", &target).unwrap());
        let call = tokio::spawn(async move { client.check(HealthCheckRequest::default()).await });
        let told = async {
            let mut socket = BufReader::new(listener.accept().await.unwrap().0);
            socket.read_exact(&mut [0; PREFACE]).await.unwrap();
            // The first frame is SETTINGS (RFC 9113, section 3.4): its length and type, flags and stream, and then pairs.
            let (head, _flags, _stream) = (socket.read_u32().await, socket.read_u8().await, socket.read_u32().await);
            let head = head.unwrap();
            assert_eq!(head & 0xff, 4);
            let mut window = None;
            for _ in 0..(head >> 8) / 6 {
                let (setting, value) = (socket.read_u16().await.unwrap(), socket.read_u32().await.unwrap());
                if setting == INITIAL_WINDOW_SIZE {
                    window = Some(value);
                }
            }
            window
        };
        assert_eq!(tokio::time::timeout(Duration::from_secs(20), told).await.unwrap(), Some(70_000));
        call.abort();
    }
}
