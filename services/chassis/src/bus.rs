//! The event bus that the settings name: NATS, or a file in a folder.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use meshwork_events::jetstream::{InvalidOption, JetStreamBus, JetStreamOptions};
use meshwork_events::{Bus, BusError, SqliteBus};
use meshwork_sql::AppliedMigration;

use crate::ServeError;
use crate::config::NatsConfig;

/// How many lanes each shard of a source has on the bus: shard s has the lanes 4s to 4s + 3.
pub const LANES_PER_SHARD: u16 = 4;
// As many as an outbox has partitions.
const _: () = assert!(LANES_PER_SHARD == meshwork_events::outbox::PARTITIONS);

/// Opens the bus of `service`: the one on NATS if that is set, else the one in `folder`, made when it is missing. The
/// servers need not be there yet: the bus's health tells, and events wait for them.
///
/// `shards` tells of how many shards the source of a stream has, its highest number and one; 1 where nothing is said.
///
/// # Errors
/// When the bus in the folder can't be opened, or a setting of NATS can't be used.
pub async fn open(
    service: &str,
    folder: &Path,
    nats: &NatsConfig,
    shards: &[(&'static str, u16)],
) -> Result<Arc<dyn Bus>, ServeError> {
    open_as(&format!("meshwork {service}"), service, folder, nats, shards).await
}

/// As [`open`], by somebody else with the settings of `service`; `name` is what the servers list the connection as.
///
/// # Errors
/// As [`open`].
pub async fn open_as(
    name: &str,
    service: &str,
    folder: &Path,
    nats: &NatsConfig,
    shards: &[(&'static str, u16)],
) -> Result<Arc<dyn Bus>, ServeError> {
    let lanes = lanes(shards);
    let bus: Arc<dyn Bus> = match nats.options(name) {
        Some(options) => connect(service, JetStreamOptions { lanes, ..options }).await?,
        None => SqliteBus::open_with(folder, &lanes).await.map_err(|error| folder_error(&error, folder))?,
    };
    #[cfg(feature = "ablation")]
    let bus = crate::ablation::planted_bus(bus);
    Ok(bus)
}

/// Begins to connect to NATS, for `service`.
async fn connect(service: &str, options: JetStreamOptions) -> Result<Arc<JetStreamBus>, ServeError> {
    JetStreamBus::connect(options).await.map_err(|InvalidOption { option, problem }| {
        ServeError::new(
            format!("{service}.nats.{option} {problem}"),
            format!("correct the settings in `{service}.nats`, or in `nats` what it takes over from there"),
        )
    })
}

/// Whether the bus can be reached and has `streams`, as far as somebody has to make them.
///
/// # Errors
/// When it can't, or hasn't; that may pass.
pub async fn require(bus: &Arc<dyn Bus>, nats: &NatsConfig, streams: &[&str]) -> Result<(), ServeError> {
    let missing = bus.missing(streams).await.map_err(|error| unreached(nats, error))?;
    if missing.is_empty() {
        return Ok(());
    }
    let sentence = format!("the event bus at {} has no stream {} yet", nats.shown(), missing.join(", "));
    Err(ServeError::new(sentence, "run `meshwork migrate`").passing(true))
}

fn unreached(nats: &NatsConfig, error: BusError) -> ServeError {
    ServeError::new(
        format!("{}: {error}", nats.shown()),
        "look whether `nats.url` names servers that run, with JetStream, and admit this account",
    )
    .passing(true)
}

/// How many lanes streams have.
fn lanes(shards: &[(&'static str, u16)]) -> HashMap<String, u16> {
    let lanes = |(stream, shards): &(&'static str, u16)| {
        ((*stream).to_owned(), (*shards).max(1).saturating_mul(LANES_PER_SHARD))
    };
    shards.iter().map(lanes).collect()
}

/// Brings the bus to this release without keeping it open; returns what it holds. On NATS the streams are declared that `service`
/// publishes to, as its settings have them. Publishing does it too, when it first needs them: this is for who waits for them.
///
/// # Errors
/// When the bus in the folder can't be opened or migrated, NATS can't be reached, or it refuses a stream.
pub async fn migrate(
    service: &str,
    folder: &Path,
    nats: &NatsConfig,
    published: &[&str],
) -> Result<Vec<AppliedMigration>, ServeError> {
    if let Some(options) = nats.options(&format!("meshwork migrate {service}")) {
        if !published.is_empty() {
            let bus = connect(service, options).await?;
            bus.declare(published).await.map_err(|error| unreached(nats, error))?;
        }
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
        assert_eq!(migrate("notifications", &path, &nats, &[]).await.unwrap(), []);
        assert!(!path.exists(), "nothing is made in the folder when the bus is on NATS");
        assert_eq!(place(&path, &nats), "NATS, 127.0.0.1:9");

        let none = NatsConfig::default();
        open("orders", &path, &none, &[]).await.unwrap().ping().await.unwrap();
        assert!(!migrate("orders", &path, &none, &["orders"]).await.unwrap().is_empty());
        assert_eq!(place(&path, &none), format!("SQLite, {}", path.display()));
    }

    #[tokio::test]
    async fn streams_are_made_by_a_migration_and_required_after_it() {
        let server = meshwork_testkit::Nats::start();
        let (folder, nats) = (Path::new("nowhere"), NatsConfig { url: server.url(), ..NatsConfig::default() });
        let bus = open("products", folder, &nats, &[]).await.unwrap();
        let required = async || require(&bus, &nats, &["products", "orders"]).await;
        let refused = required().await.unwrap_err();
        assert!(refused.may_pass(), "{refused}");
        assert_eq!(migrate("orders", folder, &nats, &["orders"]).await.unwrap(), []);
        let refused = required().await.unwrap_err();
        assert!(refused.sentence.ends_with("has no stream products yet") && refused.may_pass(), "{refused}");
        migrate("products", folder, &nats, &["products"]).await.unwrap();
        required().await.unwrap();
        server.kill();
        for failed in [required().await, migrate("orders", folder, &nats, &["orders"]).await.map(drop)] {
            let refused = failed.unwrap_err();
            assert!(refused.may_pass(), "{refused}");
        }
        // A file needs nobody.
        let (folder, none) = (tempfile::tempdir().unwrap(), NatsConfig::default());
        let bus = open("orders", folder.path(), &none, &[]).await.unwrap();
        require(&bus, &none, &["orders"]).await.unwrap();
    }

    #[tokio::test]
    async fn each_shard_of_a_source_has_lanes_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let nats = NatsConfig { url: "nats://127.0.0.1:9".to_owned(), ..NatsConfig::default() };
        for nats in [NatsConfig::default(), nats] {
            let bus = open("notifications", folder.path(), &nats, &[("users", 3)]).await.unwrap();
            let partitions: Vec<_> = bus.lanes("users").into_iter().map(|lane| lane.partition).collect();
            assert_eq!(partitions, (0..12).collect::<Vec<_>>());
            assert_eq!(bus.lanes("orders").len(), 4);
            let bus = open("orders", &folder.path().join("another"), &nats, &[("users", 0)]).await.unwrap();
            assert_eq!(bus.lanes("users").len(), 4);
        }
    }

    #[tokio::test]
    async fn a_setting_that_can_not_be_used_is_named_by_the_service_whose_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, "no certificate").unwrap();
        let nats = NatsConfig { url: "nats://127.0.0.1:9".to_owned(), ca, ..NatsConfig::default() };
        nats.check("orders.nats").unwrap();
        let Err(refused) = open("orders", folder.path(), &nats, &[]).await else { panic!("it is no certificate") };
        assert!(refused.sentence.starts_with("orders.nats.ca "), "{refused}");
    }
}
