//! The signals that stop a process.

use std::future::Future;
use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Listens for SIGTERM and SIGINT from now on; the future that it returns is done at the first one. A second one ends the
/// process at once, with 130: whoever sends it doesn't want to wait.
///
/// ```no_run
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use meshwork::server::{Listener, Server, signal};
///
/// let stop = signal::shutdown()?;
/// Server::builder().serve_with_shutdown(Listener::tcp("0.0.0.0:50051").await?, stop).await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// When signals can't be listened for.
pub fn shutdown() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(130);
        });
    })
}
