//! The service as a whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use meshwork_api::meshwork::notifications::v1::notification_service_server::NotificationServiceServer;
use meshwork_chassis::auth::{GrpcKeys, ServiceIdentity, Verifier};
use meshwork_chassis::server::{GrpcServer, listen};
use meshwork_chassis::{CancellationToken, ServeError, SystemClock, connect};
use meshwork_events::{Consumer, SqliteBus, inbox};
use meshwork_sql::{AppliedMigration, Component, Sqlite};
use tokio::task::JoinSet;

use crate::Config;
use crate::adapters::{
    COMPONENT, CONSUMER, DOMAIN, EmlFolder, EventHandler, GrpcRecipients, NotificationGrpc, STREAMS,
    SqliteNotificationStore,
};
use crate::app::Notifications;

/// How long background tasks may take to end.
const STOP: Duration = Duration::from_secs(10);

const COMPONENTS: &[Component] = &[COMPONENT, inbox::COMPONENT];

fn database(data: &Path) -> PathBuf {
    data.join("notifications.db")
}

fn store_error(error: &meshwork_sql::Error) -> ServeError {
    ServeError::new(error, "check that the folders `data` and `bus` can be written to and hold this version's files")
}

/// Brings the database to this version.
///
/// # Errors
/// When it can't be opened or migrated.
pub async fn migrate(config: &Config) -> Result<Vec<AppliedMigration>, ServeError> {
    Sqlite::migrate(&database(&config.data), COMPONENTS).await.map_err(|error| store_error(&error))
}

/// Runs the service until `shutdown`. All that it started has ended when it returns, or was ended after a bound.
///
/// # Errors
/// When it can't start, or its server fails.
pub async fn serve(config: Config, shutdown: CancellationToken) -> Result<(), ServeError> {
    let listener = listen(&config.listen)?;
    let users = connect(&config.auth.users)
        .map_err(|error| ServeError::new(error, "set `auth.users` to the address of the users service"))?;
    let mailer = EmlFolder::new(config.data.join("mail"), &config.mail_from)
        .map_err(|error| ServeError::new(error, "set `mail_from` to an address like shop@example.com"))?;
    let db = Sqlite::open(&database(&config.data), COMPONENTS).await.map_err(|error| store_error(&error))?;
    let bus = SqliteBus::open(&config.bus).await.map_err(|error| store_error(&error))?;

    let verifier = Verifier::new(Arc::new(GrpcKeys::new(users.clone())), &config.auth.issuer, &config.auth.audience);
    let identity = ServiceIdentity::new(config.auth.credentials, users.clone(), DOMAIN);
    let app = Arc::new(Notifications::new(
        Arc::new(SqliteNotificationStore::new(db)),
        Arc::new(GrpcRecipients::new(identity.channel(users))),
        Arc::new(mailer),
        Arc::new(SystemClock),
    ));
    let server = GrpcServer::new(Arc::new(verifier), DOMAIN, &[])
        .await
        .service(NotificationServiceServer::new(NotificationGrpc::new(app.clone())))
        .await;

    // Its own token, so that a server that fails ends the tasks too.
    let stop = shutdown.child_token();
    let mut tasks = JoinSet::new();
    for stream in STREAMS {
        let consumer = Consumer::new(bus.clone(), CONSUMER, stream, Arc::new(EventHandler::new(app.clone())));
        let stop = stop.clone();
        tasks.spawn(async move { consumer.run(stop).await });
    }
    tasks.spawn(app.send_due(stop.clone()));
    let result = server.serve(listener, async {}, shutdown).await;
    stop.cancel();
    let ended = tokio::time::timeout(STOP, async { while tasks.join_next().await.is_some() {} });
    if ended.await.is_err() {
        tracing::warn!(tasks = tasks.len(), "background tasks didn't end in time; they are ended");
        tasks.shutdown().await;
    }
    result
}
