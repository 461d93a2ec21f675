//! The health port: health checks in plain text, beside a port that speaks TLS.
//!
//! Kubernetes' gRPC probes know neither TLS nor identities, and they come to the pod's own address. This port answers
//! `grpc.health.v1.Health` to them, and UNIMPLEMENTED to everything else. It tells no more than whether a name is SERVING, to
//! everybody who reaches it: keep others away by a network policy.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept::Connections;
use super::arrival::{ArrivalLayer, ArrivalLimits};
use super::connection::{Ends, Options};
use super::drain::DrainLayer;
use super::handshake::Handshakes;
use super::health::{Health, HealthService, REQUEST};
use super::methods::StreamingMethods;
use super::router::Router;
use super::size::MessageSizeLayer;
use super::stack::{Handlers, Layers};
use super::turns::Turns;
use super::{Domain, Listener};
use crate::random::Random;

/// How many connections are served at once; one more takes the place of the oldest of the address that has the most. So whoever
/// holds places, silent or not, keeps no probe out.
const CONNECTIONS: usize = 128;
/// How many of them may not have begun to speak yet; one more takes the place of the oldest.
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

    /// Answers for `health`, which may not be open yet: then it is alive, and nothing else. With several of them a name is SERVING
    /// when all who know it say so.
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

    /// Serves until `shutdown`, and at most a moment longer. Let it outlive the servers that it answers for: it tells then how they
    /// stop.
    pub async fn serve(self, listener: impl Into<Listener>, shutdown: impl Future<Output = ()>) {
        let listener = listener.into();
        self.healths.iter().for_each(Health::beat);
        let stopping = CancellationToken::new();
        let service: HealthService = self.healths.into_iter().collect();
        let mut router = Router::default();
        router.add(service.into_server());

        let options = Options {
            age: Some(AGE.0),
            age_grace: Some(AGE.1),
            idle: Some(IDLE),
            streams: CALLS,
            header_list: HEADERS,
            keepalive: Some(KEEPALIVE),
            handshake: FIRST,
            random: Random::system(),
        };
        let mut connections = Connections {
            stack: layers(&stopping).around(Handlers(router)),
            tls: None,
            options: Arc::new(options),
            handshakes: Handshakes::new(SILENT),
            turns: Some(Turns::new(CONNECTIONS)),
            places: Arc::new(Semaphore::new(CONNECTIONS + LEAVING)),
            tasks: TaskTracker::new(),
            ends: Ends::default(),
        };
        // Dropped in the middle, it leaves no connection behind.
        let _cut = connections.ends.cut.clone().drop_guard();
        connections.accept(listener, shutdown).await;
        stopping.cancel();
        if !connections.drain(DRAIN).await {
            tracing::debug!("calls were still open when the health port stopped; they were cut off");
        }
    }
}

/// The layers that hold callers to their bounds; there is nobody to be known or admitted.
fn layers(stopping: &CancellationToken) -> Layers {
    // The methods of health are known without descriptors.
    let (domain, methods) = (Domain::default(), StreamingMethods::default());
    let message_size = MessageSizeLayer::new(REQUEST, domain);
    let bytes = CONNECTIONS * REQUEST;
    let arrival = ArrivalLimits { first_message: FIRST, bytes_per_address: bytes, bytes };
    Layers {
        drain: DrainLayer::new(stopping.clone(), methods.clone(), domain),
        arrival: ArrivalLayer::new(arrival, methods, message_size, domain),
        message_size,
        ..Layers::default()
    }
}

impl fmt::Debug for HealthPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthPort").field("healths", &self.healths.len()).finish()
    }
}
