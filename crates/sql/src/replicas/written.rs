//! Asking a primary how far it has written.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::postgres::PgPool;
use tokio::time::{Instant, timeout_at};

use super::answer;
use super::position::WalPosition;
use crate::lease::Lease;

/// How long the primary may take to tell its position.
const TELL: Duration = Duration::from_secs(1);

/// The positions of a primary, and whether it has told the last one.
#[derive(Debug, Default)]
pub(crate) struct Positions {
    fails: AtomicBool,
}

impl Positions {
    /// The position that covers all that is committed, within a second; [`WalPosition::UNKNOWN`] when the primary doesn't tell it.
    /// Many may ask: that it fails is said once, until it works again.
    pub async fn ask(&self, primary: &PgPool) -> WalPosition {
        match ask(primary).await {
            Ok(position) => {
                if self.fails.swap(false, Ordering::Relaxed) {
                    tracing::info!("the primary tells its position again");
                }
                position
            }
            Err(error) => {
                if !self.fails.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        %error,
                        "the primary doesn't tell its position; what needs it is read from the primary; look whether it runs and \
                         what keeps it busy"
                    );
                }
                WalPosition::UNKNOWN
            }
        }
    }
}

/// Asks the primary of a pool for the position that covers all that is committed, within a second.
///
/// # Errors
/// When there is no connection in time, or the primary doesn't tell.
async fn ask(primary: &PgPool) -> Result<WalPosition, sqlx::Error> {
    let deadline = Instant::now() + TELL;
    let mut connection = match timeout_at(deadline, primary.acquire()).await {
        Ok(acquired) => Lease::new(acquired?),
        Err(_) => return Err(sqlx::Error::PoolTimedOut),
    };
    match timeout_at(deadline, answer::written(&mut connection)).await {
        Ok(told) => {
            if told.is_ok() {
                connection.ended();
            }
            told
        }
        Err(_) => {
            // What hangs isn't used again.
            connection.close_on_drop();
            Err(sqlx::Error::PoolTimedOut)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Level, Metadata, Subscriber};

    use super::*;

    /// Counts warnings.
    struct Warnings(Arc<AtomicUsize>);

    impl Subscriber for Warnings {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            if *event.metadata().level() == Level::WARN && event.metadata().target().starts_with("meshwork_sql") {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[tokio::test]
    async fn a_primary_that_does_not_tell_is_warned_of_once() {
        let warnings = Arc::new(AtomicUsize::new(0));
        let _guard = tracing::subscriber::set_default(Warnings(warnings.clone()));
        let primary = PgPoolOptions::new().connect_lazy_with(PgConnectOptions::new());
        primary.close().await;
        let positions = Positions::default();
        for _ in 0..3 {
            assert_eq!(positions.ask(&primary).await, WalPosition::UNKNOWN);
        }
        assert_eq!(warnings.load(Ordering::Relaxed), 1);
        // It has told one in between.
        positions.fails.store(false, Ordering::Relaxed);
        positions.ask(&primary).await;
        assert_eq!(warnings.load(Ordering::Relaxed), 2);
    }
}
