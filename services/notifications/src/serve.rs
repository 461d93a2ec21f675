//! The service as a whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use meshwork_api::meshwork::notifications::v1::notification_service_server::NotificationServiceServer;
use meshwork_chassis::auth::{GrpcKeys, ServiceIdentity, Verifier};
use meshwork_chassis::background::Background;
use meshwork_chassis::checks;
use meshwork_chassis::server::{self, listen};
use meshwork_chassis::{CancellationToken, Health, ServeError, SystemClock, compressed};
use meshwork_events::inbox::sqlite::Inbox;
use meshwork_events::{Consumer, EventBus as _, SqliteBus};
use meshwork_sql::{AppliedMigration, Sqlite};

use crate::Config;
use crate::adapters::store::sqlite::COMPONENTS;
use crate::adapters::{
    CONSUMER, DOMAIN, EmlFolder, EventHandler, GrpcRecipients, NotificationGrpc, STREAMS, SqliteNotificationStore,
};
use crate::app::Notifications;

fn database(data: &Path) -> PathBuf {
    data.join("notifications.db")
}

fn store_error(error: &meshwork_sql::Error) -> ServeError {
    ServeError::new(error, "check that the folders `data` and `bus` can be written to and hold this version's files")
}

/// How far behind events may be before the service is degraded.
const LAG: Duration = Duration::from_secs(30);

/// Brings the database to this version.
///
/// # Errors
/// When it can't be opened or migrated.
pub async fn migrate(config: &Config) -> Result<Vec<AppliedMigration>, ServeError> {
    Sqlite::migrate(&database(&config.data), &COMPONENTS).await.map_err(|error| store_error(&error))
}

/// Runs the service until `shutdown`; `health` tells how it is. All that it started has ended when it returns, or was ended after a bound.
///
/// # Errors
/// When it can't start, or its server fails.
pub async fn serve(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), ServeError> {
    let rules = config.rules();
    let listener = listen(&config.listen)?;
    let users = config.client.channel("notifications.auth.users", &config.auth.users)?;
    let mailer = EmlFolder::new(config.data.join("mail"), &config.mail_from)
        .map_err(|error| ServeError::new(error, "set `mail_from` to an address like shop@example.com"))?;
    let db = Sqlite::open(&database(&config.data), &COMPONENTS).await.map_err(|error| store_error(&error))?;
    let bus = SqliteBus::open(&config.bus).await.map_err(|error| store_error(&error))?;

    health.check(checks::own("database", db.clone(), |db: Sqlite| async move { db.ping().await }));
    health.check(checks::shared("bus", bus.clone(), |bus: Arc<SqliteBus>| async move { bus.ping().await }));

    let keys = Arc::new(GrpcKeys::new(users.clone()));
    let verifier = Arc::new(Verifier::new(keys, &config.auth.issuer, &config.auth.audience));
    let identity = ServiceIdentity::new(config.auth.credentials, users.clone(), DOMAIN);
    let app = Arc::new(Notifications::new(
        Arc::new(SqliteNotificationStore::new(db.clone())),
        Arc::new(GrpcRecipients::new(identity.channel(users))),
        Arc::new(mailer),
        Arc::new(SystemClock),
        rules,
    ));
    let server = server::builder(&config.server, DOMAIN, &verifier, &health)
        .add_service(compressed!(NotificationServiceServer::new(NotificationGrpc::new(app.clone()))));

    let state = Arc::new(Inbox::new(db, CONSUMER));
    let mut background = Background::new();
    for stream in STREAMS {
        let handler = Arc::new(EventHandler::new(app.clone()));
        let consumer = Consumer::new(bus.clone(), CONSUMER, stream, handler, state.clone());
        let progress = consumer.progress();
        health.check(checks::lag(&format!("consumer of {stream}"), LAG, move || progress.lag()));
        background.spawn(format!("consumer of {stream}"), |stop| async move { consumer.run(stop).await });
    }
    background.spawn("sender", |stop| app.clone().send_due(stop));
    background.spawn("sweeper of old notifications", |stop| app.prune(stop));
    background.spawn("keys", server::require_keys(verifier, &health));
    background.beside(&shutdown, |drain| server::serve(server, listener, drain)).await
}
