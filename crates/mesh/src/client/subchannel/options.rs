//! The settings of a subchannel.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::client::backoff::Backoff;
use crate::client::connect::Connector;
use crate::observe::Observers;
use crate::random::Random;
use crate::transport::{Http2Options, WaitQueue};

/// What is asked of each new connection.
#[derive(Clone, Debug)]
pub struct HealthCheck {
    /// The name of the service that must be SERVING; empty: the server as a whole.
    pub service: Arc<str>,
    /// The `:authority` of the request, unless the server has one of its own.
    pub authority: http::uri::Authority,
    /// The `:scheme` of the request.
    pub scheme: http::uri::Scheme,
}

/// How connections are made and kept.
#[derive(Clone)]
pub struct Options {
    /// Makes the byte streams.
    pub connector: Arc<dyn Connector>,
    /// The settings of HTTP/2.
    pub http2: Http2Options,
    /// The longest that a try may take: byte stream, TLS and the peer's SETTINGS together; 20 s.
    pub connect_timeout: Duration,
    /// After how long the next address is tried beside the ones before; 250 ms, held within 100 ms and 2 s (gRFC A61).
    pub happy_eyeballs_delay: Duration,
    /// How long to wait after failures.
    pub backoff: Backoff,
    /// The most connections to the server at once, held within 1 and 10 (gRFC A105).
    pub max_connections: usize,
    /// What to ask of the server's health (gRFC A17); `None`: a connection is enough.
    pub health_check: Option<HealthCheck>,
    /// How long to keep a connection without streams; `None`: for ever. It is closed after once to twice this long, so
    /// that calls need not set a timer.
    pub idle_timeout: Option<Duration>,
    /// For the jitter of backoff.
    pub random: Random,
    /// Are told of each change of the state.
    pub observers: Observers,
    /// Who waits for a place for a stream, on this subchannel and on others of its channel.
    pub queue: Arc<WaitQueue>,
}

impl Options {
    /// The defaults of gRPC, over `connector`.
    pub fn new(connector: Arc<dyn Connector>) -> Self {
        Self {
            connector,
            http2: Http2Options::default(),
            connect_timeout: Duration::from_secs(20),
            happy_eyeballs_delay: Duration::from_millis(250),
            backoff: Backoff::default(),
            max_connections: 1,
            health_check: None,
            idle_timeout: None,
            random: Random::system(),
            observers: Observers::default(),
            queue: Arc::default(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("connect_timeout", &self.connect_timeout)
            .field("happy_eyeballs_delay", &self.happy_eyeballs_delay)
            .field("backoff", &self.backoff)
            .field("max_connections", &self.max_connections)
            .field("health_check", &self.health_check)
            .field("idle_timeout", &self.idle_timeout)
            .finish_non_exhaustive()
    }
}
