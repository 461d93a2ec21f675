//! The users service: accounts, sessions, and the keys by which every service knows its callers.
//!
//! | room | holds |
//! |---|---|
//! | [`domain`] | accounts, addresses, passwords and sessions with their rules |
//! | [`app`] | the use cases: sign up, change, delete, sign in, refresh, sign out; read and list |
//! | [`ports`] | what they need: stores, a password hasher, a token issuer, the files of first credentials, a clock |
//! | [`adapters`] | gRPC, SQLite, argon2id, Ed25519, files |
//!
//! At its first start it makes the key that signs access tokens, an account that runs the shop and one for each service
//! that calls others; [`Config::credentials`] is where their passwords are.
//!
//! A file `signing-key-LABEL.pem` beside the first key takes its place at the next start, if its label comes last; the keys
//! before it are published until the tokens that they have signed are over.
//!
//! `testing` (a feature) is the suite that every adapter of the stores passes.

pub mod adapters;
pub mod app;
mod config;
pub mod domain;
pub mod ports;
pub mod shards;
#[cfg(feature = "testing")]
pub mod testing;

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use meshwork_api::meshwork::admin::v1::audit_service_server::AuditServiceServer;
use meshwork_api::meshwork::admin::v1::dead_letter_service_server::DeadLetterServiceServer;
use meshwork_api::meshwork::admin::v1::event_source_service_server::EventSourceServiceServer;
use meshwork_api::meshwork::users::v1::auth_service_server::AuthServiceServer;
use meshwork_api::meshwork::users::v1::user_service_server::UserServiceServer;
use meshwork_chassis::auth::Verifier;
use meshwork_chassis::background::Background;
use meshwork_chassis::events::{AuditGrpc, DeadLetterGrpc, EventSourceGrpc};
use meshwork_chassis::retention::{Retention, STEP};
use meshwork_chassis::server::{self, listen};
use meshwork_chassis::{CancellationToken, Clock, Health, ServeError, SystemClock, bus, checks, compressed};
use meshwork_events::{Bus, ConsumerState, Relay};
use meshwork_sql::{AppliedMigration, Sqlite};

pub use config::Config;

use adapters::errors::DOMAIN;
use adapters::grpc::{AuthGrpc, UserGrpc};
use adapters::{Argon2id, BoundedHasher, COMPONENTS, CredentialsFolder, Ed25519Issuer, LocalKeys, SOURCE, SqliteStore};
use app::{App, Lifetimes};
use ports::TokenIssuer;

/// How far behind events may be before the service is degraded.
const LAG: Duration = Duration::from_secs(30);
/// How often expired sessions are dropped.
const PRUNE_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Runs the service until `shutdown`; when it returns, its background work has ended too. `health` tells how it is.
///
/// # Errors
/// When a setting is wrong, or a store, the signing key, the credentials or the port can't be used.
pub async fn serve(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), ServeError> {
    config.check()?;
    let listener = listen(&config.listen)?;
    create_folder(&config)?;
    let db = Sqlite::open(&config.database(), COMPONENTS).await.map_err(|error| store_error(&error, &config.data))?;
    let bus = bus::open(SOURCE, &config.bus, &config.nats).await?;
    health.check(checks::own("database", db.clone(), |db: Sqlite| async move { db.ping().await }));
    health.check(checks::shared("bus", bus.clone(), |bus: Arc<dyn Bus>| async move { bus.ping().await }));
    let store = SqliteStore::new(db);
    let (outbox, inbox) = (store.outbox(), store.inbox());
    let state: Arc<dyn ConsumerState> = Arc::new(inbox.clone());
    let audit = AuditGrpc::new(bus.clone(), DOMAIN).source(Arc::new(outbox.clone()), SOURCE);
    let relay = Relay::new(Arc::new(outbox.clone()), bus, SOURCE).checkpoint(state.clone()).parking(state.clone());
    let redrivers = relay.redriver().map(|redriver| (None, redriver)).into_iter().collect();
    let letters = DeadLetterGrpc::new(state.clone(), redrivers, SOURCE, DOMAIN);
    health.check(checks::dead_letters(state));
    let published = relay.published();
    health.check(checks::lag("relay", LAG, relay.progress()));
    let tokens = token_issuer(&config)?;
    let keys = Arc::new(LocalKeys::new(tokens.clone()));
    let verifier = Arc::new(Verifier::new(keys, &config.auth.issuer, &config.auth.audience));
    let app = Arc::new(App {
        users: Arc::new(store.clone()),
        sessions: Arc::new(store),
        hasher: Arc::new(BoundedHasher::new(Argon2id)),
        tokens,
        credentials: Arc::new(CredentialsFolder::new(&config.credentials)),
        clock: Arc::new(SystemClock) as Arc<dyn Clock>,
        lifetimes: Lifetimes { access_token: config.access_token_ttl, refresh_token: config.refresh_token_ttl },
    });
    app.seed_accounts().await.map_err(|error| {
        ServeError::new(
            format!("the first accounts can't be made: {error}"),
            format!("look into the folder of credentials, {}", config.credentials.display()),
        )
    })?;

    // The background work outlives the calls, whose events it publishes.
    let mut background = Background::new();
    background.spawn("relay", |stop| async move { relay.run(stop).await });
    background.spawn("sweeper of sessions", |stop| prune_sessions(app.clone(), stop));
    let (pruned, keep_events, keep_inbox) = (outbox.clone(), config.retention.outbox, config.retention.inbox);
    let retention = Retention::new()
        .job("outbox", move || {
            let (outbox, published) = (pruned.clone(), published.clone());
            async move { outbox.prune(&published, keep_events, STEP).await }
        })
        .job("inbox", move || {
            let inbox = inbox.clone();
            async move { inbox.prune(keep_inbox, STEP).await }
        });
    background.spawn("retention", |stop| retention.run(stop));
    let server = server::builder(&config.server, DOMAIN, &verifier, &health)
        .add_service(compressed!(UserServiceServer::new(UserGrpc::new(app.clone()))))
        .add_service(compressed!(AuthServiceServer::new(AuthGrpc::new(app))))
        .add_service(compressed!(EventSourceServiceServer::new(EventSourceGrpc::new(Arc::new(outbox), DOMAIN))))
        .add_service(compressed!(AuditServiceServer::new(audit)))
        .add_service(compressed!(DeadLetterServiceServer::new(letters)));
    background.spawn("keys", server::require_keys(verifier, &health));
    background.beside(&shutdown, |drain| server::serve(server, listener, drain)).await
}

/// Brings the service's tables, and those of the bus, to the version of this program.
///
/// # Errors
/// When a store can't be opened or a migration fails.
pub async fn migrate(config: &Config) -> Result<Vec<AppliedMigration>, ServeError> {
    create_folder(config)?;
    let own = Sqlite::migrate(&config.database(), COMPONENTS).await;
    let mut applied = own.map_err(|error| store_error(&error, &config.data))?;
    applied.extend(bus::migrate(&config.bus, &config.nats).await?);
    Ok(applied)
}

fn token_issuer(config: &Config) -> Result<Arc<dyn TokenIssuer>, ServeError> {
    let hint = "restore the file, or remove it: a new key is made then, and everybody has to sign in again";
    let keys = adapters::load_signing_keys(&config.data).map_err(|error| ServeError::new(error, hint))?;
    let issuer = Ed25519Issuer::new(&keys.current, &config.auth.issuer, &config.auth.audience)
        .map_err(|error| ServeError::new(format!("the signing key can't be used: {error}"), hint))?;
    // Until this start a key that is retired now may have signed.
    Ok(Arc::new(issuer.with_retired(&keys.retired, config.access_token_ttl)))
}

/// Makes the service's folder for its owner alone, since it holds the hashes of passwords.
fn create_folder(config: &Config) -> Result<(), ServeError> {
    adapters::create_private_folder(&config.data).map_err(|error| store_error(&error, &config.data))
}

fn store_error(error: &dyn Display, folder: &Path) -> ServeError {
    ServeError::new(error, format!("see that the folder {} can be written to and has room", folder.display()))
}

/// Drops expired sessions now and then.
async fn prune_sessions(app: Arc<App>, stop: CancellationToken) {
    loop {
        if let Err(error) = app.prune_sessions().await {
            tracing::warn!(%error, "expired sessions can't be dropped at this moment");
        }
        if stop.run_until_cancelled(tokio::time::sleep(PRUNE_INTERVAL)).await.is_none() {
            return;
        }
    }
}
