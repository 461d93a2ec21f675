//! The ops port: HTTP/1 for load balancers, monitors and Prometheus.
//!
//! | path | for | answer |
//! |---|---|---|
//! | `/livez` | who restarts the process | 200 while the runtime's heartbeat is young, else 503 |
//! | `/readyz` | load balancers | 200 while it can serve, degraded or not, else 503 and who can't |
//! | `/health` | monitors | JSON: `status` is `healthy` (200), `degraded` or `unhealthy` (both 503), every check, `timestamp` |
//! | `/metrics` | Prometheus | text 0.0.4 |
//!
//! It has 64 places, 16 of them for one network; one connection more takes the place of the oldest of the network that
//! has the most, so that nobody who fills them keeps a probe out.
//!
//! The port has neither TLS nor identities: it is for the inside of a cluster. `/health` shows the sentences of failed
//! probes, which must hold no secrets.

mod answer;
mod metrics;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::metrics::{Label, MetricsSource};
use super::accept::{Register, is_of_peer};
use super::budget::Budgets;
use super::health::Health;
use super::peer::Network;

/// How many connections are served at once; one more takes the place of the oldest of the network that has the most. An
/// answer is short, and who waits for the next request or reads slowly is older than who was just let in.
const CONNECTIONS: usize = 64;
/// How many of them one network has; one more takes the place of its oldest.
const OF_NETWORK: usize = 16;
/// How many more there may be for as long as it takes those who give way to go.
const LEAVING: usize = 64;
/// How long a client may take to send a request's head, and how long a connection may be idle.
const HEAD: Duration = Duration::from_secs(5);
/// How many bytes a request's head may have, and how many headers.
const HEAD_SIZE: (usize, usize) = (16 * 1024, 64);
/// How long a connection may last. One whose client doesn't read would last for ever otherwise.
const AGE: Duration = Duration::from_secs(60);
/// How long requests may go on after the stop was asked for.
const DRAIN: Duration = Duration::from_secs(1);
/// The pause after a failed accept; most often there are no file descriptors left.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// The ops port in the making.
///
/// ```no_run
/// use meshwork::server::health::Health;
/// use meshwork::server::ops::Ops;
/// use tokio::net::TcpListener;
///
/// # #[tokio::main] async fn main() -> std::io::Result<()> {
/// let health = Health::new();
/// let listener = TcpListener::bind("0.0.0.0:9090").await?;
/// Ops::new().health("users", health).serve(listener, std::future::pending()).await;
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct Ops {
    health: Vec<(String, Health)>,
    budgets: Vec<(String, Budgets)>,
    sources: Vec<Arc<dyn MetricsSource>>,
}

impl Ops {
    /// A port that knows of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells of `health` under `name`. With several of them the port is ready when all are.
    ///
    /// ```
    /// use meshwork::server::{health::Health, ops::Ops};
    /// let ops = Ops::new().health("users", Health::new()).health("orders", Health::new());
    /// ```
    #[must_use]
    pub fn health(mut self, name: impl Into<String>, health: Health) -> Self {
        self.health.push((name.into(), health));
        self
    }

    /// Shows in `/metrics` how much of each resource the callers of the server `name` have, and how often they were refused
    /// more: `meshwork_budget_in_use` and `meshwork_budget_refused_total`.
    ///
    /// ```
    /// use meshwork::Server;
    /// use meshwork::server::{Budgets, ops::Ops};
    ///
    /// let budgets = Budgets::default();
    /// let ops = Ops::new().budgets("users", budgets.clone());
    /// let server = Server::builder().budgets(budgets);
    /// ```
    #[must_use]
    pub fn budgets(mut self, name: impl Into<String>, budgets: Budgets) -> Self {
        self.budgets.push((name.into(), budgets));
        self
    }

    /// Renders `source` in `/metrics`, after the metrics of health and budgets.
    ///
    /// ```
    /// use meshwork::server::ops::Ops;
    /// let ops = Ops::new().metrics(|out: &mut String| out.push_str("up 1\n"));
    /// ```
    #[must_use]
    pub fn metrics(mut self, source: impl MetricsSource) -> Self {
        self.sources.push(Arc::new(source));
        self
    }

    /// Serves until `shutdown`, and at most 1 s longer.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        for (_, health) in &self.health {
            health.beat();
        }
        let ops = Arc::new(self);
        let register = Register::new(CONNECTIONS, OF_NETWORK);
        let places = Arc::new(Semaphore::new(CONNECTIONS + LEAVING));
        let connections = TaskTracker::new();
        let stopping = CancellationToken::new();
        // Dropped in the middle, it leaves no connection behind.
        let _stop = stopping.clone().drop_guard();
        let accept = async {
            while let Ok(place) = Arc::clone(&places).acquire_owned().await {
                match listener.accept().await {
                    Ok((stream, address)) => {
                        let connection = Arc::clone(&ops).connection(stream, stopping.clone());
                        let registered = register.begin(Some(Network::of(address.ip())));
                        connections.spawn(async move {
                            tokio::select! {
                                () = connection => {}
                                () = registered.evicted() => {}
                            }
                            drop(place);
                        });
                    }
                    Err(error) if is_of_peer(&error) => {}
                    Err(error) => {
                        tracing::warn!(%error, "the ops port could not accept a connection");
                        sleep(AFTER_FAILURE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accept => {}
            () = shutdown => {}
        }
        drop(listener);
        stopping.cancel();
        connections.close();
        // Each connection keeps to its own bound.
        connections.wait().await;
    }

    /// Serves a connection until its client, its age or `stopping` ends it.
    async fn connection<I>(self: Arc<Self>, stream: I, stopping: CancellationToken)
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let answer = service_fn(move |request| {
            let answer = self.answer(&request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(HEAD_SIZE.0)
            .max_headers(HEAD_SIZE.1)
            .serve_connection(TokioIo::new(stream), answer);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            _ = timeout(AGE, stopping.cancelled()) => {
                connection.as_mut().graceful_shutdown();
                timeout(DRAIN, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection to the ops port has failed");
        }
    }
}

impl fmt::Debug for Ops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.health.iter().map(|(name, _)| name).collect();
        f.debug_struct("Ops").field("health", &names).field("sources", &self.sources.len()).finish()
    }
}
