//! The settings of a server, all at their defaults.

use std::sync::Arc;
use std::time::Duration;

use super::Domain;
use super::accept::{ConnectionObserver, ConnectionOptions, Http1, Listener};
use super::auth::{AccessTable, Authenticator, VERIFIED_WITHIN};
use super::budget::{Budgets, Limits};
use super::call_observer::CallObserver;
use super::client_address::TrustedProxies;
use super::contracts::Contracts;
use super::drain::{Drain, Hook};
use super::health::Health;
use super::http::HttpService;
use super::layers::{FIRST_MESSAGE, MessageSizeLayer};
use super::plan::MethodSettings;
use super::rate::{Rate, RateLimitLayer};
use super::router::Router;
use super::tls::ServerTlsOptions;
use crate::random::Random;
use crate::transport::ServeOptions;

/// How long a client may take to read the next byte of its answer.
const SLOW_READER: Duration = Duration::from_secs(60);

/// How many streams of health and reflection a connection may have open.
const WATCHES_OF_CONNECTION: usize = 100;

/// How many messages of reflection one address may send at once; and in a second. A tool that lists all of a large server's
/// services sends some hundreds.
const REFLECTION_MESSAGES: (u64, u64) = (1_000, 100);

/// All that doesn't depend on the user's layers.
pub(super) struct Settings {
    pub options: ConnectionOptions,
    /// Beside the one that the server is given when it serves.
    pub listeners: Vec<Listener>,
    /// Whose word counts for the addresses of callers; `None`: nobody's, and nobody asks for them.
    pub trusted: Option<TrustedProxies>,
    pub handshakes: (usize, usize),
    pub http1: Option<Arc<dyn Http1>>,
    /// Who answers what is no gRPC.
    pub http: Option<Arc<dyn HttpService>>,
    pub connections: Option<Arc<dyn ConnectionObserver>>,
    pub tls: Option<ServerTlsOptions>,
    pub drain: Drain,
    /// Done when the grace is over, however much is left of it.
    pub drain_deadline: Hook,
    pub domain: Domain,
    pub observers: Vec<Arc<dyn CallObserver>>,
    pub timeout: Option<Duration>,
    pub by_address: RateLimitLayer,
    pub authenticator: Option<Arc<dyn Authenticator>>,
    pub verification_timeout: Duration,
    pub access: Option<AccessTable>,
    pub by_principal: RateLimitLayer,
    pub budgets: Budgets,
    pub watches_of_connection: usize,
    pub methods: MethodSettings,
    pub first_message: Duration,
    pub max_message_size: usize,
    pub descriptors: Vec<Vec<u8>>,
    pub reflection: bool,
    /// Of the messages of one address.
    pub reflection_rate: Option<Rate>,
    pub shown: Vec<String>,
    /// Those that change while the server runs.
    pub contracts: Option<Contracts>,
    pub health: Health,
    pub hooks: Vec<(String, Hook)>,
    pub router: Router,
    pub services: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            options: ConnectionOptions {
                serve: ServeOptions {
                    max_concurrent_streams: 1024,
                    max_header_list_size: 16 << 10,
                    stream_window: 1 << 20,
                    connection_window: 1 << 20,
                    max_frame_size: 16 << 10,
                    send_buffer: 64 << 10,
                    unwritten: 128 << 10,
                    keep_alive: Some((Duration::from_secs(30), Duration::from_secs(10))),
                    linger: SLOW_READER,
                },
                age: None,
                age_grace: None,
                idle: Some(Duration::from_secs(15 * 60)),
                handshake: Duration::from_secs(10),
                random: Random::system(),
                slow_reader: SLOW_READER,
                kernel_send_buffer: None,
            },
            listeners: Vec::new(),
            trusted: None,
            handshakes: (512, 256),
            http1: None,
            http: None,
            connections: None,
            tls: None,
            drain: Drain::default(),
            drain_deadline: Box::pin(std::future::pending()),
            domain: Domain::default(),
            observers: Vec::new(),
            timeout: None,
            by_address: RateLimitLayer::default(),
            authenticator: None,
            verification_timeout: VERIFIED_WITHIN,
            access: None,
            by_principal: RateLimitLayer::default(),
            budgets: Budgets::new(Limits::default()),
            watches_of_connection: WATCHES_OF_CONNECTION,
            methods: MethodSettings::new(),
            first_message: FIRST_MESSAGE,
            max_message_size: MessageSizeLayer::DEFAULT,
            descriptors: Vec::new(),
            reflection: true,
            reflection_rate: Rate::new(REFLECTION_MESSAGES.0, REFLECTION_MESSAGES.1, Duration::from_secs(1)).ok(),
            shown: Vec::new(),
            contracts: None,
            health: Health::new(),
            hooks: Vec::new(),
            router: Router::default(),
            services: Vec::new(),
        }
    }
}
