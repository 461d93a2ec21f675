//! Running services until a signal comes or one of them fails.

use std::time::Duration;

use meshwork::server::HealthPort;
use meshwork::server::ops::Ops;
use meshwork_chassis::CancellationToken;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinHandle, JoinSet};

use crate::failure::Failure;
use crate::state::Note;

/// How long services may take to end: the gateway drains its calls, then those behind it do.
const STOP: Duration = Duration::from_secs(90);

/// Services that run in this process.
pub struct Running {
    tasks: JoinSet<Result<(), Failure>>,
    /// What `demo` finds this process by; gone once the process has stopped.
    pub note: Option<Note>,
    /// Asks the services to stop.
    pub shutdown: CancellationToken,
    /// The ports that tell how the services are.
    ports: Vec<JoinHandle<()>>,
    /// The services have stopped.
    stopped: CancellationToken,
    /// How long the calls of all services may take to end, and what tells them that the time is over.
    grace: Option<(Duration, CancellationToken)>,
}

impl Running {
    /// None yet.
    pub fn new() -> Self {
        Self {
            tasks: JoinSet::new(),
            note: None,
            shutdown: CancellationToken::new(),
            ports: Vec::new(),
            stopped: CancellationToken::new(),
            grace: None,
        }
    }

    /// Services that stop one after the other have `grace` together, from the moment when the first is asked to. The token tells
    /// that it is over.
    pub fn end_calls_after(&mut self, grace: Duration) -> CancellationToken {
        let over = CancellationToken::new();
        self.grace = Some((grace, over.clone()));
        over
    }

    /// Starts a service.
    pub fn spawn<E: Into<Failure>>(&mut self, service: impl Future<Output = Result<(), E>> + Send + 'static) {
        self.tasks.spawn(async move { service.await.map_err(Into::into) });
    }

    /// Starts the ops port. It outlives the services, so that it tells how they stop.
    pub fn spawn_ops(&mut self, ops: Ops, listener: TcpListener) {
        let stopped = self.stopped.clone();
        self.ports.push(tokio::spawn(ops.serve(listener, stopped.cancelled_owned())));
    }

    /// Starts the health port. It outlives the services too.
    pub fn spawn_health(&mut self, port: HealthPort, listener: TcpListener) {
        let stopped = self.stopped.clone();
        self.ports.push(tokio::spawn(port.serve(listener, stopped.cancelled_owned())));
    }

    /// The first service that ends, while none should.
    async fn first_to_end(&mut self) -> Failure {
        match self.tasks.join_next().await {
            Some(Ok(Err(failure))) => failure,
            Some(Err(error)) => Failure::new(format!("a service has panicked: {error}"), "look into the log"),
            Some(Ok(Ok(()))) | None => Failure::new("a service has ended by itself", "look into the log"),
        }
    }

    /// Waits for `ready`.
    ///
    /// # Errors
    /// When a service ends before.
    pub async fn until(&mut self, ready: impl Future<Output = ()>) -> Result<(), Failure> {
        tokio::select! {
            () = ready => Ok(()),
            failure = self.first_to_end() => {
                self.stop().await;
                Err(failure)
            }
        }
    }

    /// Runs until SIGTERM or SIGINT, then stops; a second signal ends the process at once.
    ///
    /// # Errors
    /// When a service fails.
    pub async fn until_signal(mut self) -> Result<(), Failure> {
        let result = tokio::select! {
            result = stop_signal() => result,
            failure = self.first_to_end() => Err(failure),
        };
        tracing::info!("stopping; a second signal ends at once");
        tokio::select! {
            () = self.stop() => result,
            _ = stop_signal() => {
                // Nothing is dropped by an exit.
                drop(self.note.take());
                std::process::exit(130)
            }
        }
    }

    async fn stop(&mut self) {
        self.shutdown.cancel();
        if let Some((grace, over)) = self.grace.take() {
            // It ends with the process, if the services are quicker.
            tokio::spawn(async move {
                tokio::time::sleep(grace).await;
                over.cancel();
            });
        }
        let ended = async {
            while let Some(ended) = self.tasks.join_next().await {
                if let Ok(Err(failure)) = ended {
                    tracing::warn!(%failure, "a service has failed while it stopped");
                }
            }
        };
        if tokio::time::timeout(STOP, ended).await.is_err() {
            tracing::warn!(seconds = STOP.as_secs(), "services were still running when the time to stop was over");
        }
        self.stopped.cancel();
        for port in self.ports.drain(..) {
            // Each has a bound of its own.
            port.await.ok();
        }
    }
}

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// When signals can't be listened for.
pub async fn stop_signal() -> Result<(), Failure> {
    let listen = |kind| {
        signal(kind).map_err(|error| Failure::new(format!("can't listen for signals: {error}"), "look into the log"))
    };
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const GRACE: Duration = Duration::from_secs(15);

    /// A service that ends no earlier than it has to.
    async fn slow(asked: CancellationToken, over: CancellationToken) {
        asked.cancelled().await;
        tokio::time::timeout(GRACE, over.cancelled()).await.ok();
    }

    #[tokio::test(start_paused = true)]
    async fn s7_services_that_stop_one_after_the_other_have_one_grace() {
        let mut running = Running::new();
        let (shutdown, over) = (running.shutdown.clone(), running.end_calls_after(GRACE));
        let behind = CancellationToken::new();
        let (first, next) = (over.clone(), behind.clone());
        running.spawn(async move {
            slow(shutdown, first).await;
            behind.cancel();
            Ok::<_, Failure>(())
        });
        running.spawn(async move {
            slow(next, over).await;
            Ok::<_, Failure>(())
        });
        let begin = Instant::now();
        running.stop().await;
        assert!(begin.elapsed() < GRACE + Duration::from_secs(1), "{:?}", begin.elapsed());
    }
}
