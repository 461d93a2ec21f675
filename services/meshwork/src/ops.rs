//! The HTTP ops port: `/livez` and `/readyz`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use futures_util::future::join_all;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use meshwork_chassis::CancellationToken;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::failure::Failure;
use crate::health::Port;

/// The gRPC ports of this process, by name.
pub type Ports = Arc<Vec<(&'static str, Port)>>;

/// How many connections are served at once; more wait.
const CONNECTIONS: usize = 64;
/// How long a client may take to send a request's head.
const HEAD: Duration = Duration::from_secs(5);
/// How long requests may go on after the stop was asked for.
const DRAIN: Duration = Duration::from_secs(1);
/// The pause after a failed accept; most often there are no file descriptors left.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Serves until `shutdown`, and at most [`DRAIN`] longer.
///
/// # Errors
/// None: a connection that fails is its client's concern.
pub async fn serve(listener: TcpListener, ports: Ports, shutdown: CancellationToken) -> Result<(), Failure> {
    let router = Router::new().route("/livez", get(async || "ok\n")).route("/readyz", get(readyz)).with_state(ports);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    let accept = async {
        while let Ok(place) = places.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection = serve_connection(stream, router.clone(), shutdown.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the ops port could not accept a connection");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = shutdown.cancelled() => {}
    }
    connections.close();
    // Each connection keeps to its own bound.
    connections.wait().await;
    Ok(())
}

/// Serves a connection until its client or `shutdown` ends it.
async fn serve_connection(stream: TcpStream, router: Router, shutdown: CancellationToken) {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(DRAIN, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the ops port has failed");
    }
}

/// 200 when every gRPC port is serving; else 503 with those that are not.
async fn readyz(State(ports): State<Ports>) -> (StatusCode, String) {
    let checks = join_all(ports.iter().map(async |(name, port)| (*name, port.serving("").await))).await;
    let faults: Vec<_> =
        checks.into_iter().filter_map(|(name, check)| Some(format!("{name} {}\n", check.err()?))).collect();
    if faults.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, faults.concat())
    }
}
