//! The background tasks of a server: relays, consumers, sweepers.
//!
//! A server without one of them looks healthy and stands still, so the end of a task ends the server, and whoever runs the
//! process starts it again.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// How long background tasks may take to end once the server has ended, unless it is set.
const STOP: Duration = Duration::from_secs(5);
/// How long tasks that were cut off may take to be gone. One that never yields isn't waited for.
const CUT_OFF: Duration = Duration::from_secs(1);

/// Named tasks that run beside a server, and end after it.
///
/// ```no_run
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use meshwork::server::{Background, Listener, Server};
/// use tokio_util::sync::CancellationToken;
///
/// let listener = Listener::tcp("0.0.0.0:50051").await?;
/// let shutdown = CancellationToken::new();
/// let mut background = Background::new();
/// background.spawn("sweeper", |stop| async move {
///     // Until `stop` is cancelled: sweep, and wait.
///     stop.cancelled().await;
/// });
/// let served = background.beside(&shutdown, |drain| async move {
///     Server::builder().serve_with_shutdown(listener, drain.cancelled_owned()).await?;
///     Ok::<(), Box<dyn std::error::Error>>(())
/// });
/// served.await
/// # }
/// ```
///
/// Tasks are aborted when this is dropped.
#[derive(Debug)]
pub struct Background {
    stop: CancellationToken,
    within: Duration,
    tasks: JoinSet<()>,
    names: HashMap<Id, String>,
}

impl Default for Background {
    fn default() -> Self {
        Self { stop: CancellationToken::new(), within: STOP, tasks: JoinSet::new(), names: HashMap::new() }
    }
}

impl Background {
    /// No tasks yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How long the tasks may take to end once they are stopped, before they are cut off. 5 s unless set.
    #[must_use]
    pub fn stop_within(mut self, limit: Duration) -> Self {
        self.within = limit;
        self
    }

    /// Starts a task, called `name` in errors and logs. It is to run until the token that it is given is cancelled.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn spawn<F>(&mut self, name: impl Into<String>, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let handle = self.tasks.spawn(task(self.stop.clone()));
        self.names.insert(handle.id(), name.into());
    }

    /// Runs a server until `shutdown`, or until a task ends. The server is to stop when the token that it is given is
    /// cancelled. After it the tasks are stopped, which takes the time of [`Background::stop_within`] at most.
    ///
    /// # Errors
    /// When a task ended or panicked before it was stopped, as [`BackgroundError`] says, or when the server failed.
    pub async fn beside<F, E>(
        mut self,
        shutdown: &CancellationToken,
        server: impl FnOnce(CancellationToken) -> F,
    ) -> Result<(), E>
    where
        F: Future<Output = Result<(), E>>,
        E: From<BackgroundError>,
    {
        let drain = shutdown.child_token();
        let mut served = Box::pin(server(drain.clone()));
        let (served, failed) = tokio::select! {
            served = &mut served => (served, None),
            Some(ended) = self.tasks.join_next_with_id() => {
                let failed = self.failure(ended);
                tracing::error!(error = %failed, "the server stops");
                drain.cancel();
                (served.await, Some(failed))
            }
        };
        // A server that failed by itself leaves its own tasks running otherwise.
        drain.cancel();
        self.end().await;
        failed.map_or(served, |failed| Err(failed.into()))
    }

    fn failure(&self, ended: Result<(Id, ()), JoinError>) -> BackgroundError {
        let (id, end) = match ended {
            Ok((id, ())) => (id, TaskEnd::Returned),
            Err(error) if error.is_panic() => (error.id(), TaskEnd::Panicked),
            Err(error) => (error.id(), TaskEnd::Cancelled),
        };
        BackgroundError { task: self.name(id).to_owned(), end }
    }

    fn name(&self, id: Id) -> &str {
        self.names.get(&id).map_or("unknown", String::as_str)
    }

    async fn end(mut self) {
        self.stop.cancel();
        let ended = async {
            while let Some(ended) = self.tasks.join_next_with_id().await {
                let id = match &ended {
                    Ok((id, ())) => *id,
                    Err(error) => {
                        let task = self.names.get(&error.id()).map_or("unknown", String::as_str);
                        tracing::warn!(task, %error, "a background task failed while it was stopped");
                        error.id()
                    }
                };
                self.names.remove(&id);
            }
        };
        if tokio::time::timeout(self.within, ended).await.is_ok() {
            return;
        }
        let tasks: Vec<_> = self.names.values().collect();
        let seconds = self.within.as_secs_f64();
        tracing::warn!(?tasks, seconds, "background tasks did not end in time and are cut off");
        self.tasks.abort_all();
        let gone = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(CUT_OFF, gone).await.is_err() {
            tracing::warn!("background tasks that never yield are left behind");
        }
    }
}

/// A background task ended before it was stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the background task \"{task}\" {end}")]
pub struct BackgroundError {
    task: String,
    end: TaskEnd,
}

impl BackgroundError {
    /// The name of the task.
    pub fn task(&self) -> &str {
        &self.task
    }

    /// How it ended.
    pub fn end(&self) -> TaskEnd {
        self.end
    }
}

/// How a background task ended that nobody had stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskEnd {
    /// Its future was done.
    Returned,
    /// It panicked.
    Panicked,
    /// The runtime cancelled it.
    Cancelled,
}

impl fmt::Display for TaskEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Returned => "has ended by itself",
            Self::Panicked => "has panicked",
            Self::Cancelled => "was cancelled",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, thiserror::Error)]
    enum Failure {
        #[error(transparent)]
        Background(#[from] BackgroundError),
        #[error("no port")]
        Server,
    }

    async fn until_stopped(token: CancellationToken) -> Result<(), Failure> {
        token.cancelled().await;
        Ok(())
    }

    #[tokio::test]
    async fn a_task_that_ends_or_panics_ends_the_server() {
        for (panics, end, how) in
            [(false, TaskEnd::Returned, "has ended by itself"), (true, TaskEnd::Panicked, "has panicked")]
        {
            let mut background = Background::new();
            background.spawn("sound", CancellationToken::cancelled_owned);
            background.spawn("broken", move |_| async move { assert!(!panics, "as planned") });
            let error = background.beside(&CancellationToken::new(), until_stopped).await.unwrap_err();
            assert_eq!(error.to_string(), format!("the background task \"broken\" {how}"));
            let Failure::Background(error) = error else { panic!("{error}") };
            assert_eq!((error.task(), error.end()), ("broken", end));
        }
    }

    #[tokio::test]
    async fn a_task_outlives_the_server_and_may_panic_in_the_end() {
        let shutdown = CancellationToken::new();
        let mut background = Background::new();
        background.spawn("broken", |stop| async move {
            stop.cancelled().await;
            assert!(!stop.is_cancelled(), "as planned");
        });
        shutdown.cancel();
        background.beside(&shutdown, until_stopped).await.unwrap();
        let failed = |_| async { Err(Failure::Server) };
        let mut background = Background::new();
        background.spawn("sound", CancellationToken::cancelled_owned);
        assert_eq!(background.beside(&CancellationToken::new(), failed).await, Err(Failure::Server));
    }

    #[tokio::test]
    async fn a_server_without_tasks_runs_until_its_shutdown() {
        let shutdown = CancellationToken::new();
        let served = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { Background::new().beside(&shutdown, until_stopped).await }
        });
        tokio::task::yield_now().await;
        assert!(!served.is_finished());
        shutdown.cancel();
        served.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_end_is_cut_off_at_the_bound() {
        for (mut background, limit) in [
            (Background::new(), Duration::from_secs(5)),
            (Background::new().stop_within(Duration::from_secs(2)), Duration::from_secs(2)),
        ] {
            let shutdown = CancellationToken::new();
            shutdown.cancel();
            background.spawn("endless", |_| std::future::pending());
            let begin = tokio::time::Instant::now();
            background.beside(&shutdown, until_stopped).await.unwrap();
            assert_eq!(begin.elapsed().as_secs(), limit.as_secs());
        }
    }
}
