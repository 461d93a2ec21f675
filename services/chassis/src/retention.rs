//! The task that removes what has done its work, a little at a time.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

/// How much one step of a job removes at most.
pub const STEP: usize = 1_000;
/// How often jobs are looked at.
const INTERVAL: Duration = Duration::from_secs(60);

type Step = Box<dyn Fn() -> BoxFuture<'static, Result<u64, String>> + Send + Sync>;

/// Jobs that remove what is past its retention.
#[derive(Default)]
pub struct Retention {
    jobs: Vec<(&'static str, Step)>,
}

impl Retention {
    /// No jobs yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a job, called `name` in logs. A step removes about [`STEP`] things at most and returns how many; there is another
    /// at once while it finds so many.
    #[must_use]
    pub fn job<F, E>(mut self, name: &'static str, step: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<u64, E>> + Send + 'static,
        E: Display,
    {
        let step = move || -> BoxFuture<'static, Result<u64, String>> {
            let step = step();
            Box::pin(async move { step.await.map_err(|error| error.to_string()) })
        };
        self.jobs.push((name, Box::new(step)));
        self
    }

    /// Does the jobs now and then until `stop`. What fails is tried again next time.
    pub async fn run(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
            for (name, step) in &self.jobs {
                let mut removed = 0;
                loop {
                    match stop.run_until_cancelled(step()).await {
                        None => return,
                        Some(Ok(count)) => {
                            removed += count;
                            if count < STEP as u64 {
                                break;
                            }
                        }
                        Some(Err(error)) => {
                            tracing::warn!(job = name, error, "what is past its retention can't be removed now");
                            break;
                        }
                    }
                }
                if removed > 0 {
                    tracing::info!(job = name, removed, "what was past its retention is removed");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_job_goes_on_while_it_finds_much_and_a_failure_harms_no_other() {
        let left = Arc::new(AtomicU64::new(2_500));
        let of = left.clone();
        let take = move || {
            let all = of.load(Ordering::Relaxed).min(STEP as u64);
            of.fetch_sub(all, Ordering::Relaxed);
            std::future::ready(Ok::<_, String>(all))
        };
        let stop = CancellationToken::new();
        let retention = Retention::new().job("bad", || std::future::ready(Err("it is down"))).job("good", take);
        let task = tokio::spawn(retention.run(stop.clone()));
        tokio::time::sleep(INTERVAL * 3 / 2).await;
        assert_eq!(left.load(Ordering::Relaxed), 0);
        stop.cancel();
        task.await.unwrap();
    }
}
