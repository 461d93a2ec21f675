//! Logs, on standard error.

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Settings};
use crate::failure::Failure;

/// Starts logging.
///
/// # Errors
/// When the filter can't be understood.
pub fn start(settings: &Settings) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&settings.log.filter).map_err(|error| {
        Failure::new(
            format!("the setting log.filter is {:?}, which can't be understood: {error}", settings.log.filter),
            "write something like `info` or `warn,meshwork_orders=debug`",
        )
    })?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match settings.log.format {
        LogFormat::Text => subscriber.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    };
    started.map_err(|error| Failure::new(format!("can't start logging: {error}"), "report this bug"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tracing::{Level, enabled};

    use super::*;

    #[test]
    fn by_default_libraries_warn_but_for_the_client_of_redis_which_would_at_each_attempt() {
        let filter = EnvFilter::try_new(Settings::in_folder(Path::new("d")).log.filter).unwrap();
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter).finish();
        tracing::subscriber::with_default(subscriber, || {
            assert!(enabled!(target: "fred::router", Level::ERROR));
            assert!(!enabled!(target: "fred::router", Level::WARN));
            assert!(enabled!(target: "sqlx::query", Level::WARN));
            assert!(!enabled!(target: "sqlx::query", Level::INFO));
            assert!(enabled!(target: "meshwork_users", Level::INFO));
        });
    }
}
