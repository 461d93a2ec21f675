//! The start of a service whose stores somebody else brings to this release.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use meshwork::errors::bounded;
use meshwork::server::health::{Condition, Health};
use meshwork_sql::Kind;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::Migrations;
use crate::server::ServeError;

/// What the start waits for, as health calls it.
const STORES: &str = "stores";
/// The pauses between tries: they double from the one to the other.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// How long one try may take: a server that hangs would hold it for ever.
const TRY: Duration = Duration::from_secs(60);
/// How often the log says what is waited for.
const TELL: Duration = Duration::from_secs(60);
/// The most bytes of that in health.
const MAX_SENTENCE: usize = 400;

/// A service that starts.
///
/// With [`Migrations::Wait`] it is not ready until [`Start::done`]: `startup` is NOT_SERVING, and `/readyz` and `/health` say what is
/// waited for. That takes as long as it takes, or until the service is to stop; whoever has started it, such as Kubernetes by a
/// startup probe, may end it before.
pub struct Start<'a> {
    /// None: it makes what is missing.
    waits: Option<Condition>,
    health: &'a Health,
    shutdown: &'a CancellationToken,
}

impl<'a> Start<'a> {
    /// It starts now. `health` tells what it waits for, until `shutdown`.
    pub fn new(migrations: Migrations, health: &'a Health, shutdown: &'a CancellationToken) -> Self {
        let waits = (migrations == Migrations::Wait).then(|| health.condition(STORES));
        Self { waits, health, shutdown }
    }

    /// What `open` gives: at the first try, unless the service waits and it is of something `on_servers`. Then again and again,
    /// while what it fails by [may pass](ServeError::may_pass). `None`: the service is to stop.
    ///
    /// What lies in the service's folder nobody else makes, and that takes as long as it takes.
    ///
    /// # Errors
    /// What `open` returns, unless that is waited out.
    pub async fn open<T, F>(&self, on_servers: bool, open: impl Fn() -> F) -> Result<Option<T>, ServeError>
    where
        F: Future<Output = Result<T, ServeError>>,
    {
        match self.waits.as_ref().filter(|_| on_servers) {
            None => open().await.map(Some),
            Some(condition) => {
                let opened = self.shutdown.run_until_cancelled(tried(condition, open)).await;
                if opened.is_none() {
                    self.health.drain();
                }
                opened.transpose()
            }
        }
    }

    /// As [`Start::open`], for what is looked at only by a service that waits, and only `on_servers`.
    ///
    /// # Errors
    /// As [`Start::open`].
    pub async fn require<F>(&self, on_servers: bool, look: impl Fn() -> F) -> Result<Option<()>, ServeError>
    where
        F: Future<Output = Result<(), ServeError>>,
    {
        if self.waits.is_none() || !on_servers {
            return Ok(Some(()));
        }
        self.open(on_servers, look).await
    }

    /// All is there that was waited for.
    pub fn done(self) {
        if let Some(condition) = self.waits {
            condition.met();
        }
    }
}

/// What a start has failed by at a database, with `hint`, unless all that it takes is a migration. It may pass when the database
/// can't be reached, lacks something, or others are in the way.
pub fn database_error(database: impl Display, error: &meshwork_sql::Error, hint: impl Into<String>) -> ServeError {
    let hint = match error {
        meshwork_sql::Error::Pending(_) => "run `meshwork migrate`".to_owned(),
        _ => hint.into(),
    };
    let may_pass = matches!(error.kind(), Kind::Unavailable | Kind::Conflict);
    ServeError::new(format!("{database}: {error}"), hint).passing(may_pass)
}

/// Tries until it succeeds, or fails by what doesn't pass.
async fn tried<T, F>(condition: &Condition, open: impl Fn() -> F) -> Result<T, ServeError>
where
    F: Future<Output = Result<T, ServeError>>,
{
    let (mut pause, mut told) = (PAUSES.0, None::<Instant>);
    loop {
        let opened = match timeout(TRY, open()).await {
            Ok(opened) => opened,
            Err(_) => Err(ServeError::new(
                format!("a store has not answered within {} s", TRY.as_secs()),
                "look whether its server hangs",
            )
            .passing(true)),
        };
        let error = match opened {
            Err(error) if error.may_pass() => error,
            opened => {
                if told.is_some() && opened.is_ok() {
                    tracing::info!("the start goes on: what it waited for is there");
                }
                return opened;
            }
        };
        condition.waits(bounded(&error, MAX_SENTENCE));
        if told.is_none_or(|told| told.elapsed() >= TELL) {
            let hint = error.hint.as_str();
            tracing::info!(problem = %error, hint, "the start waits until its stores are there and at this release");
            told = Some(Instant::now());
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn passing() -> ServeError {
        ServeError::new("the database is not there", "wait").passing(true)
    }

    /// Fails so often before it succeeds.
    fn after(failures: u32) -> (AtomicU32, impl Fn(&AtomicU32) -> std::future::Ready<Result<u32, ServeError>>) {
        let open = move |tries: &AtomicU32| {
            let tries = tries.fetch_add(1, Ordering::SeqCst);
            std::future::ready(if tries < failures { Err(passing()) } else { Ok(tries) })
        };
        (AtomicU32::new(0), open)
    }

    #[tokio::test(start_paused = true)]
    async fn who_applies_tries_once_and_waits_for_nothing() {
        let (health, shutdown) = (Health::new(), CancellationToken::new());
        let start = Start::new(Migrations::Apply, &health, &shutdown);
        let (tries, open) = after(1);
        assert!(start.open(true, || open(&tries)).await.is_err());
        assert_eq!(start.open(true, || open(&tries)).await.unwrap(), Some(1));
        // What only who waits looks at.
        let never = || std::future::ready(Err(passing()));
        assert_eq!(start.require(true, never).await.unwrap(), Some(()));
        start.done();
        health.open();
        assert!(health.is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_tries_again_at_ever_longer_pauses_and_says_what_for() {
        let (health, shutdown) = (Health::new(), CancellationToken::new());
        let start = Start::new(Migrations::Wait, &health, &shutdown);
        health.open();
        let (tries, open) = after(6);
        let began = Instant::now();
        let opened = start.open(true, || open(&tries));
        let looked = async {
            sleep(Duration::from_secs(1)).await;
            assert_eq!(
                health.report().why_not_ready().unwrap(),
                "starts: it waits for stores (the database is not there)"
            );
        };
        let (opened, ()) = tokio::join!(opened, looked);
        assert_eq!(opened.unwrap(), Some(6));
        // 0.2 + 0.4 + 0.8 + 1.6 + 2 + 2 s.
        assert_eq!(began.elapsed().as_millis(), 7000);
        assert!(!health.is_ready());
        let (tries, open) = after(1);
        assert_eq!(start.require(true, || async { open(&tries).await.map(drop) }).await.unwrap(), Some(()));
        start.done();
        assert!(health.is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_pass_ends_the_wait_and_so_does_the_stop() {
        let (health, shutdown) = (Health::new(), CancellationToken::new());
        let start = Start::new(Migrations::Wait, &health, &shutdown);
        let wrong = || std::future::ready(Err::<(), _>(ServeError::new("the URL is wrong", "correct it")));
        assert_eq!(start.open(true, wrong).await.unwrap_err().sentence, "the URL is wrong");
        // A store that hangs is tried anew; the stop comes in the middle of that.
        let hangs = std::future::pending::<Result<(), ServeError>>;
        let stopped = async {
            sleep(Duration::from_secs(61)).await;
            let why = health.report().why_not_ready().unwrap();
            assert_eq!(why, "starts: it waits for stores (a store has not answered within 60 s)");
            shutdown.cancel();
            Instant::now()
        };
        let (opened, cancelled) = tokio::join!(start.open(true, hangs), stopped);
        assert_eq!((opened.unwrap(), cancelled.elapsed()), (None, Duration::ZERO));
        assert_eq!(health.report().why_not_ready().unwrap(), "is stopping");
        drop(start);
        assert!(!health.is_ready());
    }

    #[test]
    fn a_database_that_lacks_something_asks_for_a_migration_and_one_that_is_damaged_does_not_pass() {
        use meshwork_sql::Error;

        let hint = "look at the URL";
        for (error, hint, may_pass) in [
            (Error::Pending("1 migrations are missing".to_owned()), "run `meshwork migrate`", true),
            (Error::NoConnection("it is full".to_owned()), hint, true),
            (Error::Shards("they differ".to_owned()), hint, false),
        ] {
            let told = database_error("the accounts at db", &error, "look at the URL");
            assert_eq!((told.hint.as_str(), told.may_pass()), (hint, may_pass), "{error}");
            assert!(told.sentence.starts_with("the accounts at db: ") && told.sentence.contains(&error.to_string()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_lies_in_a_folder_is_opened_once_however_long_that_takes() {
        let (health, shutdown) = (Health::new(), CancellationToken::new());
        let start = Start::new(Migrations::Wait, &health, &shutdown);
        let tries = AtomicU32::new(0);
        let slow = || async {
            tries.fetch_add(1, Ordering::SeqCst);
            sleep(TRY * 3).await;
            Ok("migrated")
        };
        assert_eq!(start.open(false, slow).await.unwrap(), Some("migrated"));
        assert_eq!(tries.load(Ordering::SeqCst), 1);
        assert!(start.open(false, || std::future::ready(Err::<(), _>(passing()))).await.is_err());
        assert_eq!(start.require(false, || std::future::ready(Err(passing()))).await.unwrap(), Some(()));
    }
}
