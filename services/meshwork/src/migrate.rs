//! `meshwork migrate`.

use std::time::Duration;

use meshwork_chassis::{ServeError, bus};
use meshwork_sql::AppliedMigration;
use tokio::time::{Instant, sleep};

use crate::cli::MigrateArgs;
use crate::config::{Flags, Settings, load};
use crate::failure::Failure;
use crate::lock::{DataLock, Share};
use crate::run::stop_signal;

/// The pauses between tries while a server isn't there: they double from the one to the other.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// Brings all databases to this release and lists what they hold.
///
/// # Errors
/// When a database can't be opened or migrated, or is in use.
pub async fn run(args: &MigrateArgs) -> Result<(), Failure> {
    let (settings, _) = load(&args.settings, &Flags::new())?;
    // What is on servers is locked there.
    let _locks = if settings.is_migrated_on_servers() {
        vec![DataLock::take(&settings.data, Share::WithOthers)?]
    } else {
        DataLock::take_all(&settings)?
    };
    let all = tokio::select! {
        migrated = migrate(&settings, Instant::now() + args.patience) => migrated?,
        stopped = stop_signal() => {
            stopped?;
            let sentence = "a signal has ended it; a migration that was under way was undone, those before it stand";
            return Err(Failure::new(sentence, "run it again"));
        }
    };
    for (database, migrations) in &all {
        for migration in migrations {
            println!("{database:<14} {:<8} {:>4}  {}", migration.component, migration.version, migration.description);
        }
    }
    println!("all databases are up to date");
    Ok(())
}

/// Migrates everything, and says what each holds then. Servers that aren't there are waited for until `end`.
async fn migrate(settings: &Settings, end: Instant) -> Result<Vec<(&'static str, Vec<AppliedMigration>)>, ServeError> {
    let mut all = vec![
        ("users", patiently(end, || meshwork_users::migrate(&settings.users)).await?),
        ("products", patiently(end, || meshwork_products::migrate(&settings.products)).await?),
        ("orders", patiently(end, || meshwork_orders::migrate(&settings.orders)).await?),
        ("notifications", patiently(end, || meshwork_notifications::migrate(&settings.notifications)).await?),
    ];
    let mut buses = Vec::new();
    for bus in settings.buses() {
        if !buses.contains(&bus) {
            buses.push(bus);
        }
    }
    for (folder, nats) in buses {
        // The services have declared the streams that they publish to.
        all.push(("bus", bus::migrate("bus", folder, nats, &[]).await?));
    }
    Ok(all)
}

/// Tries until it succeeds, fails by what doesn't pass, or `end` is near.
async fn patiently<T, F>(end: Instant, migrate: impl Fn() -> F) -> Result<T, ServeError>
where
    F: Future<Output = Result<T, ServeError>>,
{
    let (mut pause, mut told) = (PAUSES.0, String::new());
    loop {
        match migrate().await {
            Err(error) if error.may_pass() && Instant::now() + pause < end => {
                if told != error.sentence {
                    eprintln!("waiting: {error}");
                    told = error.sentence;
                }
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn refused(passing: bool) -> ServeError {
        ServeError::new("the database is not there", "wait").passing(passing)
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_tried_again_until_the_patience_ends() {
        let tries = AtomicU32::new(0);
        let third =
            || async { if tries.fetch_add(1, Ordering::SeqCst) < 2 { Err(refused(true)) } else { Ok("migrated") } };
        let began = Instant::now();
        assert_eq!(patiently(began + Duration::from_secs(1), third).await.unwrap(), "migrated");
        assert_eq!(began.elapsed().as_millis(), 600);
        let never = || std::future::ready(Err::<(), _>(refused(true)));
        let began = Instant::now();
        assert!(patiently(began + Duration::from_secs(60), never).await.is_err());
        assert!((55..=60).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
        for (patience, passing) in [(0, true), (60, false)] {
            let began = Instant::now();
            let wrong = || std::future::ready(Err::<(), _>(refused(passing)));
            assert!(patiently(began + Duration::from_secs(patience), wrong).await.is_err());
            assert_eq!(began.elapsed(), Duration::ZERO);
        }
    }
}
