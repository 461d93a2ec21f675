//! The settings of a channel.

mod requests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::uri::{Authority, Scheme};

use super::Channel;
use super::error::{BuildError, ConnectError};
use crate::client::balance::Picker;
use crate::client::connect::{Connector, Sockets, Tls, TlsOptions};
use crate::client::endpoints::{ChannelHandle, ChannelSettings, ChannelState, EndpointsTask, PolicySource};
use crate::client::resolve::{Refresher, Resolver, Target};
use crate::client::retry::{Buffers, RequestIds};
use crate::client::subchannel::Options;
use crate::observe::{Connectivity, Observer};
use crate::policy::{Descriptors, Policy, PolicyFile};
use crate::random::Random;
use crate::transport::{Http2Options, WaitQueue};

/// The settings of a [`Channel`]. What is not set has the default that the gRFCs give.
///
/// ```no_run
/// use std::time::Duration;
///
/// use meshwork::Channel;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let channel = Channel::builder()
///     .policy_file("policy.json")
///     .connect_timeout(Duration::from_secs(5))
///     .http2_keep_alive_interval(Duration::from_secs(30))
///     .connect("dns:///users:50051")
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "a builder makes no channel before `connect` or `connect_lazy`"]
#[derive(Clone)]
pub struct Builder {
    policy: Source,
    descriptors: Option<Vec<u8>>,
    resolver: Option<Arc<dyn Resolver>>,
    connector: Option<Arc<dyn Connector>>,
    tls: Option<TlsOptions>,
    picker: Option<Arc<dyn Picker>>,
    origin: Option<String>,
    user_agent: Option<String>,
    options: Options,
    idle_timeout: Option<Duration>,
    slow_call: Option<Duration>,
    buffers: (usize, usize),
    sockets: Sockets,
    max_queued_calls: usize,
    max_response_bytes: Option<usize>,
    max_request_bytes: Option<usize>,
    request_ids: RequestIds,
}

#[derive(Clone)]
enum Source {
    Unset,
    Policy(Box<Policy>),
    File(PathBuf),
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            policy: Source::Unset,
            descriptors: None,
            resolver: None,
            connector: None,
            tls: None,
            picker: None,
            origin: None,
            user_agent: None,
            options: Options::new(Arc::new(Sockets::new())),
            idle_timeout: Some(Duration::from_secs(30 * 60)),
            slow_call: Some(Duration::from_secs(1)),
            buffers: (1 << 20, 16 << 20),
            sockets: Sockets::new(),
            max_queued_calls: 16 << 10,
            max_response_bytes: None,
            max_request_bytes: None,
            request_ids: RequestIds::default(),
        }
    }
}

impl Builder {
    /// The policy: timeouts, retries, balancing, circuit breaker.
    ///
    /// ```
    /// # use meshwork::{Channel, policy::Policy};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let policy = Policy::parse(r#"{"methodConfig": [{"name": [{}], "timeout": "1s"}]}"#)?;
    /// let builder = Channel::builder().policy(policy);
    /// # Ok(()) }
    /// ```
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = Source::Policy(Box::new(policy));
        self
    }

    /// The policy, from a file of gRPC service config JSON that is read again when it changes. A change that is not
    /// valid is refused with a `tracing` event, and the policy before it holds on.
    ///
    /// ```
    /// let builder = meshwork::Channel::builder().policy_file("/etc/meshwork/policy.json");
    /// ```
    pub fn policy_file(mut self, path: impl AsRef<Path>) -> Self {
        self.policy = Source::File(path.as_ref().to_owned());
        self
    }

    /// A resolver of one's own, in place of that of the target's scheme; the target names the authority then.
    ///
    /// ```
    /// use meshwork::endpoint::Endpoint;
    /// use meshwork::resolve::{Resolution, ResolveError, Resolver};
    ///
    /// struct Fixed(Vec<Endpoint>);
    ///
    /// #[tonic::async_trait]
    /// impl Resolver for Fixed {
    ///     async fn resolve(&self) -> Result<Resolution, ResolveError> {
    ///         Ok(Resolution::new(self.0.clone()))
    ///     }
    /// }
    ///
    /// let address = std::net::SocketAddr::from(([127, 0, 0, 1], 50051));
    /// let builder = meshwork::Channel::builder().resolver(Fixed(vec![Endpoint::new(address)]));
    /// ```
    pub fn resolver(mut self, resolver: impl Resolver) -> Self {
        self.resolver = Some(Arc::new(resolver));
        self
    }

    /// A connector of one's own, in place of TCP and Unix sockets. With [`Builder::tls`], TLS is spoken over it.
    ///
    /// ```
    /// let network = meshwork::connect::Memory::new();
    /// let builder = meshwork::Channel::builder().connector(network.clone());
    /// ```
    pub fn connector(mut self, connector: impl Connector) -> Self {
        self.connector = Some(Arc::new(connector));
        self
    }

    /// Speaks TLS, or mutual TLS.
    ///
    /// ```
    /// use meshwork::Channel;
    /// use meshwork::connect::TlsOptions;
    ///
    /// let builder = Channel::builder().tls(TlsOptions::new().ca_certificate_file("/etc/meshwork/ca.pem"));
    /// ```
    pub fn tls(mut self, options: TlsOptions) -> Self {
        self.tls = Some(options);
        self
    }

    /// A picker of one's own, in place of the one that the policy names.
    ///
    /// ```
    /// use meshwork::balance::{Candidate, PickArgs, Picker};
    ///
    /// struct First;
    ///
    /// impl Picker for First {
    ///     fn pick(&self, _call: &PickArgs<'_>, _ready: &[Candidate]) -> usize {
    ///         0
    ///     }
    /// }
    ///
    /// let builder = meshwork::Channel::builder().picker(First);
    /// ```
    pub fn picker(mut self, picker: impl Picker) -> Self {
        self.picker = Some(Arc::new(picker));
        self
    }

    /// The `:authority` of calls, and the name that each server's certificate must hold; else the target's, or that of the
    /// endpoint where it has one of its own, as in `static:///a:1,b:2`.
    ///
    /// ```
    /// let builder = meshwork::Channel::builder().origin("users.example.com");
    /// ```
    pub fn origin(mut self, authority: impl Into<String>) -> Self {
        self.origin = Some(authority.into());
        self
    }

    /// What calls say of their sender, before the name of this library.
    ///
    /// ```
    /// let builder = meshwork::Channel::builder().user_agent("shop/1.2");
    /// ```
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = Some(name.into());
        self
    }

    /// How long a connection may take to be ready, TLS and HTTP/2 settings included; 20 s.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let builder = meshwork::Channel::builder().connect_timeout(Duration::from_secs(5));
    /// ```
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout = timeout;
        self
    }

    /// How long to wait after a connection failed before the next try, and so after a name could not be resolved: at first, and at
    /// most; it grows by 1.6 from failure to failure, and varies by 20 %. 1 s and 120 s.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let builder = meshwork::Channel::builder().reconnect_backoff(Duration::from_millis(100), Duration::from_secs(5));
    /// ```
    pub fn reconnect_backoff(mut self, initial: Duration, max: Duration) -> Self {
        self.options.backoff.initial = initial;
        self.options.backoff.max = max;
        self
    }

    /// How often a server that is silent is asked for a sign of life, 10 s at least (gRFC A8); never unless set.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let builder = meshwork::Channel::builder().http2_keep_alive_interval(Duration::from_secs(30));
    /// ```
    pub fn http2_keep_alive_interval(mut self, interval: Duration) -> Self {
        self.options.http2.keep_alive_interval = Some(interval.max(Duration::from_secs(10)));
        self
    }

    /// How long the sign of life may take before the connection is given up; 20 s.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let builder = meshwork::Channel::builder().keep_alive_timeout(Duration::from_secs(5));
    /// ```
    pub fn keep_alive_timeout(mut self, timeout: Duration) -> Self {
        self.options.http2.keep_alive_timeout = timeout;
        self
    }

    /// Whether to ask for signs of life while there are no calls; no unless set. Many servers forbid it.
    ///
    /// ```
    /// let builder = meshwork::Channel::builder().keep_alive_while_idle(true);
    /// ```
    pub fn keep_alive_while_idle(mut self, enabled: bool) -> Self {
        self.options.http2.keep_alive_while_idle = enabled;
        self
    }

    /// The most bytes of headers that a call sends, and of headers or trailers that it takes from a server; 64 KiB. What is
    /// larger ends that call with RESOURCE_EXHAUSTED.
    ///
    /// ```
    /// let builder = meshwork::Channel::builder().http2_max_header_list_size(16 << 10);
    /// ```
    pub fn http2_max_header_list_size(mut self, bytes: u32) -> Self {
        self.options.http2.max_header_list_size = bytes;
        self
    }

    /// Windows and limits of HTTP/2. They hold the keepalive too: what was set of it before is replaced.
    ///
    /// ```
    /// # use meshwork::{Channel, transport::Http2Options};
    /// let builder = Channel::builder().http2(Http2Options { stream_window: 4 << 20, ..Http2Options::default() });
    /// ```
    pub fn http2(mut self, options: Http2Options) -> Self {
        self.options.http2 = options;
        self
    }

    /// After how long without a call connections are closed until the next one; 30 min. `None`: never.
    ///
    /// ```
    /// let builder = meshwork::Channel::builder().idle_timeout(None);
    /// ```
    pub fn idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// From which time on a call is told as slow, by a `tracing` event of the target `meshwork::call`; 1 s. `None`: never.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let builder = meshwork::Channel::builder().slow_call(Some(Duration::from_millis(200)));
    /// ```
    pub fn slow_call(mut self, threshold: Option<Duration>) -> Self {
        self.slow_call = threshold;
        self
    }

    /// How many calls may wait for an endpoint or for a place for their stream at once; 16,384. Further ones are UNAVAILABLE.
    ///
    /// ```
    /// let builder = meshwork::Channel::builder().max_queued_calls(1000);
    /// ```
    pub fn max_queued_calls(mut self, calls: usize) -> Self {
        self.max_queued_calls = calls;
        self
    }

    /// The largest message of a response, in bytes as it is sent; a larger one ends its call with RESOURCE_EXHAUSTED. 4 MiB,
    /// or `maxResponseMessageBytes` of the policy; set, the smaller one. A generated client has its own, by the same name.
    ///
    /// ```
    /// let builder = meshwork::Channel::builder().max_decoding_message_size(16 << 20);
    /// ```
    pub fn max_decoding_message_size(mut self, bytes: usize) -> Self {
        self.max_response_bytes = Some(bytes);
        self
    }

    /// After how long of silence TCP asks a server's host for a sign of life, see [`Sockets::tcp_keepalive`]; never unless
    /// set. Without effect on a connector of one's own.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let builder = meshwork::Channel::builder().tcp_keepalive(Some(Duration::from_secs(60)));
    /// ```
    pub fn tcp_keepalive(mut self, time: Option<Duration>) -> Self {
        self.sockets = self.sockets.tcp_keepalive(time);
        self
    }

    /// Sees each step of calls and each change of endpoints. Adds to those that are set already.
    ///
    /// ```
    /// use meshwork::observe::Event;
    ///
    /// let builder = meshwork::Channel::builder().observer(|event: &Event<'_>| println!("{event:?}"));
    /// ```
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.options.observers.add(observer);
        self
    }

    /// The source of jitter and random picks; tests fix it.
    ///
    /// ```
    /// let builder = meshwork::Channel::builder().random(meshwork::random::Random::seeded(7));
    /// ```
    pub fn random(mut self, random: Random) -> Self {
        self.options.random = random;
        self
    }

    /// A channel that resolves and connects at its first call, by tasks on the runtime of that call. When that runtime ends,
    /// the channel begins anew on the runtime of the next call.
    ///
    /// Targets: `dns:///host:port`, `static:///a:1,b:2`, `unix:path`, `k8s:///service.namespace:port` with the feature `kubernetes`,
    /// and `http://host:port` for what tonic takes; see [`Target`](crate::client::resolve::Target).
    ///
    /// # Errors
    /// When the target, the policy, the descriptors or the certificates can't be used.
    pub fn connect_lazy(self, target: &str) -> Result<Channel, BuildError> {
        let target = match (&self.resolver, Target::parse(target)) {
            (_, Ok(target)) => target,
            (Some(_), Err(_)) => Target::opaque(target),
            (None, Err(error)) => return Err(error.into()),
        };
        let authority: Authority = match &self.origin {
            Some(origin) => origin.parse().map_err(|_| BuildError::Origin(origin.clone()))?,
            None => target.authority().clone(),
        };
        let descriptors = self.descriptors.as_deref().map(Descriptors::decode).transpose()?;
        let has_default = !matches!(self.policy, Source::Unset);
        let (policy, policy_file) = match self.policy {
            Source::Unset => (Policy::default(), None),
            Source::Policy(policy) => (*policy, None),
            Source::File(path) => {
                let file = PolicyFile::open(path)?;
                (file.policy().clone(), Some(file))
            }
        };
        let queue = Arc::new(WaitQueue::with_limit(self.max_queued_calls));
        let mut options = Options { queue: Arc::clone(&queue), ..self.options };
        let plain = self.connector.unwrap_or_else(|| Arc::new(self.sockets));
        let tls = self.tls.or_else(|| target.is_tls().then(TlsOptions::new));
        let scheme = if tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        options.connector = match tls {
            Some(tls) => Arc::new(Tls::new(plain, tls, authority.host(), options.observers.clone())?),
            None => plain,
        };
        let name: Arc<str> = target.to_string().into();
        let Some(resolver) = self.resolver.or_else(|| target.into_resolver()) else {
            return Err(BuildError::Resolver(name.to_string()));
        };
        let settings = Arc::new(ChannelSettings {
            target: name,
            overrides_authority: self.origin.is_some(),
            user_agent: user_agent(self.user_agent.as_deref())?,
            observers: options.observers.clone(),
            random: options.random.clone(),
            buffers: Arc::new(Buffers::new(self.buffers.0, self.buffers.1)),
            slow_call: self.slow_call,
            max_response_bytes: self.max_response_bytes,
            max_request_bytes: self.max_request_bytes,
            request_ids: self.request_ids,
        });
        let state = Arc::new(ChannelState::new(settings, authority, scheme, queue, &policy, descriptors));
        let task = EndpointsTask {
            refresher: Refresher::new(resolver, options.backoff, options.random.clone()),
            options,
            policies: PolicySource::new(policy, has_default),
            policy_file,
            own_picker: self.picker,
            idle_timeout: self.idle_timeout,
        };
        Box::new(task).park(&state);
        Ok(Channel(Arc::new(ChannelHandle { state })))
    }

    /// A channel that has a connection.
    ///
    /// # Errors
    /// As for [`Builder::connect_lazy`]; and when no endpoint could be reached, or not within the connect timeout.
    pub async fn connect(self, target: &str) -> Result<Channel, ConnectError> {
        let timeout = self.options.connect_timeout;
        let channel = self.connect_lazy(target)?;
        let ready = async {
            let mut state = channel.state();
            loop {
                match state {
                    Connectivity::Ready => return Ok(()),
                    Connectivity::TransientFailure | Connectivity::Shutdown => {
                        return Err(ConnectError::Unavailable(channel.0.state.why_unavailable()));
                    }
                    // At first, and when a runtime that drove it has ended.
                    Connectivity::Idle => channel.wake(),
                    Connectivity::Connecting => {}
                }
                state = channel.state_changed(state).await;
            }
        };
        match tokio::time::timeout(timeout, ready).await {
            Ok(ready) => ready?,
            Err(_) => {
                let message = format!("{} was not ready within {timeout:?}", channel.target());
                return Err(ConnectError::Unavailable(message));
            }
        }
        Ok(channel)
    }
}

/// `NAME meshwork/VERSION`.
fn user_agent(name: Option<&str>) -> Result<HeaderValue, BuildError> {
    const OWN: &str = concat!("meshwork/", env!("CARGO_PKG_VERSION"));
    let Some(name) = name else { return Ok(HeaderValue::from_static(OWN)) };
    HeaderValue::from_str(&format!("{name} {OWN}")).map_err(|_| BuildError::UserAgent(name.to_owned()))
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("origin", &self.origin).finish_non_exhaustive()
    }
}
