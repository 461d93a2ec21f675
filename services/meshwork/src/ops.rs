//! The HTTP ops port: `/livez` and `/readyz`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use futures_util::future::join_all;
use meshwork_chassis::CancellationToken;
use tokio::net::TcpListener;

use crate::failure::Failure;
use crate::health::Port;

/// The gRPC ports of this process, by name.
pub type Ports = Arc<Vec<(&'static str, Port)>>;

/// Serves until `shutdown`.
///
/// # Errors
/// When the server fails.
pub async fn serve(listener: TcpListener, ports: Ports, shutdown: CancellationToken) -> Result<(), Failure> {
    let router = Router::new().route("/livez", get(async || "ok\n")).route("/readyz", get(readyz)).with_state(ports);
    let server = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned());
    server.await.map_err(|error| Failure::new(format!("the ops port has failed: {error}"), "look into the log"))
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
