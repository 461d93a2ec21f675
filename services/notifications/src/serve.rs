//! The service as a whole.

use std::sync::Arc;
use std::time::Duration;

use meshwork_api::meshwork::admin::v1::audit_service_server::AuditServiceServer;
use meshwork_api::meshwork::admin::v1::dead_letter_service_server::DeadLetterServiceServer;
use meshwork_api::meshwork::notifications::v1::notification_service_server::NotificationServiceServer;
use meshwork_chassis::auth::{GrpcKeys, ServiceIdentity, Verifier};
use meshwork_chassis::events::{AuditGrpc, DeadLetterGrpc, GrpcEventSources};
use meshwork_chassis::server::{self, listen};
use meshwork_chassis::start::Start;
use meshwork_chassis::{Background, CancellationToken, Health, ServeError, SystemClock, bus, checks, compressed};
use meshwork_events::{Bus, Consumer};
use meshwork_sql::AppliedMigration;

use crate::Config;
use crate::adapters::stores::{self, Stores};
use crate::adapters::{
    CONSUMER, DOMAIN, EmlFolder, EventHandler, GrpcRecipients, NotificationGrpc, STREAMS, Sender, Smtp,
};
use crate::app::Notifications;
use crate::ports::Mailer;

/// How far behind events may be before the service is degraded.
const LAG: Duration = Duration::from_secs(30);

/// What takes the letters: the mail server, or the folder without one. The server's health is told: it is others' as well,
/// and letters wait for it.
fn mailer(config: &Config, health: &Health) -> Result<Arc<dyn Mailer>, ServeError> {
    let sender = Sender::new(&config.mail_from)
        .map_err(|error| ServeError::new(error, "set `mail_from` to an address like shop@example.com"))?;
    let Some(options) = config.smtp.options()? else {
        return Ok(Arc::new(EmlFolder::new(config.data.join("mail"), sender)));
    };
    let smtp = Smtp::new(options, sender)
        .map_err(|error| ServeError::new(error, "set `notifications.smtp.ca_file` to a file of certificates in PEM"))?;
    let smtp = Arc::new(smtp);
    health.check(checks::shared("mail server", smtp.clone(), |smtp: Arc<Smtp>| async move { smtp.ping().await }));
    Ok(smtp)
}

/// Brings the database to this version, whatever `migrations` says of the start. The service publishes nothing.
///
/// # Errors
/// When it can't be opened or migrated.
pub async fn migrate(config: &Config) -> Result<Vec<AppliedMigration>, ServeError> {
    stores::migrate(config).await
}

/// Runs the service until `shutdown`; `health` tells how it is. All that it started has ended when it returns, or was ended
/// after a bound.
///
/// # Errors
/// When it can't start, or its server fails.
pub async fn serve(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), ServeError> {
    config.check()?;
    let rules = config.rules();
    let listener = listen(&config.listen)?;
    let users = config.client.channel("notifications.auth.users", &config.auth.users)?;
    let orders = config.client.channel("notifications.orders", &config.orders)?;
    let mailer = mailer(&config, &health)?;
    let start = Start::new(config.migrations, &health, &shutdown);
    let on_postgres = config.postgres.options().is_some();
    let Some(stores) = start.open(on_postgres, || stores::open(&config)).await? else { return Ok(()) };
    let Stores { notifications, inbox, check, retention } = stores;
    let bus = bus::open("notifications", &config.bus, &config.nats, &[("users", config.users_shards)]).await?;
    let streams = || bus::require(&bus, &config.nats, &STREAMS);
    let Some(()) = start.require(config.nats.is_set(), streams).await? else { return Ok(()) };
    start.done();

    health.check(check);
    health.check(checks::shared("bus", bus.clone(), |bus: Arc<dyn Bus>| async move { bus.ping().await }));
    health.check(checks::dead_letters(inbox.clone()));

    let keys = Arc::new(GrpcKeys::new(users.clone()));
    let verifier = Arc::new(Verifier::new(keys, &config.auth.issuer, &config.auth.audience));
    let identity = ServiceIdentity::new(config.auth.credentials, users.clone()).credentials(DOMAIN);
    let users = identity.channel(users);
    let owners =
        Arc::new(GrpcEventSources::new().source("orders", identity.channel(orders)).source("users", users.clone()));
    let app = Arc::new(Notifications::new(
        notifications,
        Arc::new(GrpcRecipients::new(users)),
        mailer,
        Arc::new(SystemClock),
        rules,
    ));

    let audit = AuditGrpc::new(bus.clone(), DOMAIN).consumer(inbox.clone(), &STREAMS, true);
    let mut background = Background::new();
    let mut redriver = None;
    for stream in STREAMS {
        let handler = Arc::new(EventHandler::new(app.clone()));
        let consumer = Consumer::new(bus.clone(), CONSUMER, stream, handler, inbox.clone()).backfill(owners.clone());
        health.check(checks::lag(&format!("consumer of {stream}"), LAG, consumer.progress()));
        // One is as good as the other: they have one handler, and their parked events are the same.
        redriver = Some(consumer.redriver());
        background.spawn(format!("consumer of {stream}"), |stop| async move { consumer.run(stop).await });
    }
    let mut server = server::builder(&config.server, DOMAIN, &verifier, &health)?
        .add_service(compressed!(NotificationServiceServer::new(NotificationGrpc::new(app.clone()))))
        .add_service(compressed!(AuditServiceServer::new(audit)));
    if let Some(redriver) = redriver {
        let letters = DeadLetterGrpc::new(inbox, vec![(None, redriver)], "notifications", DOMAIN);
        server = server.add_service(compressed!(DeadLetterServiceServer::new(letters)));
    }
    background.spawn("sender", |stop| app.clone().send_due(stop));
    background.spawn("sweeper of notifications", |stop| app.prune(stop));
    background.spawn("retention", |stop| retention.run(stop));
    background.spawn("keys", server::require_keys(verifier, &health));
    background.beside(&shutdown, |drain| server::serve(server, listener, drain)).await
}
