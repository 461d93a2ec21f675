//! The health port: health checks in plain text, beside a port that speaks TLS.
//!
//! Kubernetes' gRPC probes know neither TLS nor identities, and they come to the pod's own address. This port answers
//! `grpc.health.v1.Health` to them, and UNIMPLEMENTED to everything else. It tells no more than whether a name is
//! SERVING, to everybody who reaches it: keep others away by a network policy.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept::{Admission, ConnectionOptions, Connections, Ends, Listener, Register};
use super::budget::Budgets;
use super::health::{Health, HealthService, REQUEST};
use super::pipeline::{Handlers, HealthPortBounds, Pipeline};
use super::router::Router;
use crate::random::Random;
use crate::transport::ServeOptions;

/// How many connections are served at once; one more takes the place of the oldest of the address that has the most. So
/// whoever holds places, silent or not, keeps no probe out.
const CONNECTIONS: usize = 128;
/// How many of them may not have begun to speak yet; one more takes the place of one of them.
const SILENT: usize = 32;
/// How many more there may be for as long as it takes those who give way to go.
const LEAVING: usize = 128;
/// How many calls of a connection are answered at once, those that watch included.
const CALLS: u32 = 8;
/// How long a client may take to begin to speak HTTP/2, and how long to send the message of a call.
const FIRST: Duration = Duration::from_secs(5);
/// How many bytes a call's headers may have.
const HEADERS: u32 = 8 << 10;
/// How long a connection may have no call.
const IDLE: Duration = Duration::from_secs(30);
/// How long a connection may last, and how long a watch on it after that: nobody keeps a place for good.
const AGE: (Duration, Duration) = (Duration::from_secs(10 * 60), Duration::from_secs(10));
/// After how much silence a client that watches is asked for a sign of life, and how long that may take.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));
/// How long calls may go on after the stop was asked for.
const DRAIN: Duration = Duration::from_secs(1);
/// How many bytes of requests a connection, and each call of it, takes in before they are read.
const WINDOW: u32 = 64 << 10;
/// How long a client may take to read an answer, none of which is larger than a packet.
const SLOW_READER: Duration = Duration::from_secs(5);

/// The health port in the making.
///
/// | what | bound |
/// |---|---|
/// | connections | 128; one more takes the place of the oldest of the address that has the most |
/// | of these, such as have said nothing yet | 32; one more takes the place of the oldest |
/// | calls of one of them at once, watches among them | 8 |
/// | HTTP/2's preface, and the message of a call | 5 s each |
/// | headers of a call; its message | 8 KiB; 4 KiB |
/// | connection without a call; with calls | 30 s; 10 min, give or take 10 % |
///
/// ```no_run
/// use meshwork::server::health::Health;
/// use meshwork::server::{HealthPort, Listener};
///
/// # #[tokio::main] async fn main() -> std::io::Result<()> {
/// let health = Health::new();
/// let listener = Listener::tcp("0.0.0.0:9091").await?;
/// HealthPort::new().health(health).serve(listener, std::future::pending()).await;
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct HealthPort {
    healths: Vec<Health>,
}

impl HealthPort {
    /// A port that knows no name.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers for `health`, which may not be open yet: then it is alive, and nothing else. With several of them a name
    /// is SERVING when all who know it say so.
    ///
    /// ```
    /// use meshwork::server::{HealthPort, health::Health};
    /// let port = HealthPort::new().health(Health::new()).health(Health::new());
    /// ```
    #[must_use]
    pub fn health(mut self, health: Health) -> Self {
        self.healths.push(health);
        self
    }

    /// Serves until `shutdown`, and at most a moment longer. Let it outlive the servers that it answers for: it tells
    /// then how they stop.
    pub async fn serve(self, listener: impl Into<Listener>, shutdown: impl Future<Output = ()>) {
        let listener = listener.into();
        self.healths.iter().for_each(Health::beat);
        let stopping = CancellationToken::new();
        let service: HealthService = self.healths.into_iter().collect();
        let mut router = Router::default();
        router.add(service.into_server());

        let serve = ServeOptions {
            max_concurrent_streams: CALLS,
            max_header_list_size: HEADERS,
            stream_window: WINDOW,
            connection_window: WINDOW,
            max_frame_size: 16 << 10,
            send_buffer: 16 << 10,
            unwritten: 64 << 10,
            keep_alive: Some(KEEPALIVE),
            linger: DRAIN,
        };
        let options = ConnectionOptions {
            serve,
            age: Some(AGE.0),
            age_grace: Some(AGE.1),
            idle: Some(IDLE),
            handshake: FIRST,
            random: Random::system(),
            slow_reader: SLOW_READER,
            // An answer has a few bytes, and the kernel's least is more than they need.
            kernel_send_buffer: Some(16 << 10),
        };
        let bounds = HealthPortBounds {
            max_message: REQUEST,
            first_message: FIRST,
            watches_of_connection: usize::try_from(CALLS).unwrap_or(usize::MAX),
            max_header_list: usize::try_from(HEADERS).unwrap_or(usize::MAX),
            slow_reader: SLOW_READER,
        };
        let mut connections = Connections {
            pipeline: Arc::new(Pipeline::health_port(router.clone(), bounds, stopping.clone())),
            handlers: Handlers::new(router),
            tls: None,
            options: Arc::new(options),
            admission: Admission::with_places(Budgets::default(), CONNECTIONS + LEAVING, 0),
            opening: Register::new(SILENT, 0),
            evicts: Some(Register::new(CONNECTIONS, 0)),
            http1: None,
            observer: None,
            tasks: TaskTracker::new(),
            ends: Ends::default(),
        };
        connections.accept(vec![listener], shutdown).await;
        stopping.cancel();
        if !connections.drain(DRAIN, std::future::pending()).await {
            tracing::debug!("calls were still open when the health port stopped; they were cut off");
        }
    }
}

impl fmt::Debug for HealthPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthPort").field("healths", &self.healths.len()).finish()
    }
}
