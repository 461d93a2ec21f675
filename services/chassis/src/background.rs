//! The background tasks of a service: relay, consumers, projector, sweepers.
//!
//! A service without one of them looks healthy and stands still, so the end of a task ends the service, which is started
//! again then.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::server::ServeError;

/// How long background tasks may take to end once the server has ended.
pub const STOP: Duration = Duration::from_secs(5);
/// How long tasks that were cut off may take to be gone. One that never yields isn't waited for.
const CUT_OFF: Duration = Duration::from_secs(1);

/// Named tasks that run beside a server, and end after it.
#[derive(Default)]
pub struct Background {
    stop: CancellationToken,
    tasks: JoinSet<()>,
    names: HashMap<Id, String>,
}

impl Background {
    /// No tasks yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task, called `name` in errors and logs. It is to run until the token that it is given is cancelled.
    pub fn spawn<F>(&mut self, name: impl Into<String>, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let handle = self.tasks.spawn(task(self.stop.clone()));
        self.names.insert(handle.id(), name.into());
    }

    /// Runs a server until `shutdown`, or until a task ends. The server stops when the token that it is given is
    /// cancelled. After it the tasks are stopped, which takes [`STOP`] at most.
    ///
    /// # Errors
    /// When a task ended or panicked before it was stopped, which the sentence names, or when the server failed.
    pub async fn beside<F>(
        mut self,
        shutdown: &CancellationToken,
        server: impl FnOnce(CancellationToken) -> F,
    ) -> Result<(), ServeError>
    where
        F: Future<Output = Result<(), ServeError>>,
    {
        let drain = shutdown.child_token();
        let mut served = Box::pin(server(drain.clone()));
        let (served, failed) = tokio::select! {
            served = &mut served => (served, None),
            Some(ended) = self.tasks.join_next_with_id() => {
                let failed = self.failure(ended);
                tracing::error!(error = %failed, "the service stops");
                drain.cancel();
                (served.await, Some(failed))
            }
        };
        // A server that failed by itself leaves its own tasks running otherwise.
        drain.cancel();
        self.end().await;
        failed.map_or(served, Err)
    }

    fn failure(&self, ended: Result<(Id, ()), JoinError>) -> ServeError {
        let (id, how) = match ended {
            Ok((id, ())) => (id, "has ended by itself"),
            Err(error) if error.is_panic() => (error.id(), "has panicked"),
            Err(error) => (error.id(), "was cancelled"),
        };
        ServeError::new(format!("the background task \"{}\" {how}", self.name(id)), "look into the log for the cause")
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
        if tokio::time::timeout(STOP, ended).await.is_ok() {
            return;
        }
        let tasks: Vec<_> = self.names.values().collect();
        tracing::warn!(?tasks, seconds = STOP.as_secs(), "background tasks did not end in time and are cut off");
        self.tasks.abort_all();
        let gone = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(CUT_OFF, gone).await.is_err() {
            tracing::warn!("background tasks that never yield are left behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn until_stopped(token: CancellationToken) -> Result<(), ServeError> {
        token.cancelled().await;
        Ok(())
    }

    #[tokio::test]
    async fn a_task_that_ends_or_panics_ends_the_service() {
        for (panics, how) in [(false, "has ended by itself"), (true, "has panicked")] {
            let mut background = Background::new();
            background.spawn("sound", CancellationToken::cancelled_owned);
            background.spawn("broken", move |_| async move { assert!(!panics, "as planned") });
            let error = background.beside(&CancellationToken::new(), until_stopped).await.unwrap_err();
            assert_eq!(error.sentence, format!("the background task \"broken\" {how}"));
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
        let failed = |_| async { Err(ServeError::new("no port", "")) };
        let mut background = Background::new();
        background.spawn("sound", CancellationToken::cancelled_owned);
        let error = background.beside(&CancellationToken::new(), failed).await.unwrap_err();
        assert_eq!(error.sentence, "no port");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_end_is_cut_off_at_the_bound() {
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let mut background = Background::new();
        background.spawn("endless", |_| std::future::pending());
        let begin = tokio::time::Instant::now();
        background.beside(&shutdown, until_stopped).await.unwrap();
        assert_eq!(begin.elapsed().as_secs(), STOP.as_secs());
    }
}
