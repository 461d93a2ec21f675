//! The event bus that the settings name: a NATS, or a file in a folder.

use std::path::Path;
use std::sync::Arc;

use meshwork_events::jetstream::{InvalidOption, JetStreamBus};
use meshwork_events::{Bus, SqliteBus};
use meshwork_sql::AppliedMigration;

use crate::ServeError;
use crate::config::NatsConfig;

/// Opens the bus: the NATS if one is set, else the one in `folder`, which is made when it is missing. A NATS need not be there
/// yet: its health tells, and events wait for it.
///
/// # Errors
/// When the bus in the folder can't be opened, or a setting of the NATS can't be used.
pub async fn open(folder: &Path, nats: &NatsConfig) -> Result<Arc<dyn Bus>, ServeError> {
    let bus: Arc<dyn Bus> = match nats.options() {
        Some(options) => {
            let bus = JetStreamBus::connect(options).await;
            bus.map_err(|InvalidOption { option, problem }| {
                ServeError::new(format!("nats.{option} {problem}"), "correct the settings in `nats`")
            })?
        }
        None => SqliteBus::open(folder).await.map_err(|error| folder_error(&error, folder))?,
    };
    Ok(bus)
}

/// Brings the bus to this release without keeping it open; returns what it holds. A NATS has nothing to be brought there: its
/// streams are declared when they are used.
///
/// # Errors
/// When the bus in the folder can't be opened or migrated.
pub async fn migrate(folder: &Path, nats: &NatsConfig) -> Result<Vec<AppliedMigration>, ServeError> {
    if nats.is_set() {
        return Ok(Vec::new());
    }
    SqliteBus::migrate(folder).await.map_err(|error| folder_error(&error, folder))
}

/// Where the settings place the bus, in words for people.
pub fn place(folder: &Path, nats: &NatsConfig) -> String {
    if nats.is_set() { format!("NATS, {}", nats.shown()) } else { format!("SQLite, {}", folder.display()) }
}

fn folder_error(error: &meshwork_sql::Error, folder: &Path) -> ServeError {
    ServeError::new(
        format!("the event bus: {error}"),
        format!("look whether the folder {} can be written to and the disk has room", folder.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_bus_lies_in_the_folder_unless_there_is_a_nats() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bus");
        let nats = NatsConfig { url: "nats://127.0.0.1:9".to_owned(), ..NatsConfig::default() };
        assert_eq!(migrate(&path, &nats).await.unwrap(), []);
        assert!(!path.exists(), "nothing is made in the folder beside a NATS");
        assert_eq!(place(&path, &nats), "NATS, 127.0.0.1:9");

        let none = NatsConfig::default();
        open(&path, &none).await.unwrap().ping().await.unwrap();
        assert!(!migrate(&path, &none).await.unwrap().is_empty());
        assert_eq!(place(&path, &none), format!("SQLite, {}", path.display()));
    }
}
