//! Puts the service together and runs it.

use std::sync::Arc;
use std::time::Duration;

use meshwork_api::meshwork::admin::v1::audit_service_server::AuditServiceServer;
use meshwork_api::meshwork::admin::v1::cache_service_server::CacheServiceServer;
use meshwork_api::meshwork::admin::v1::dead_letter_service_server::DeadLetterServiceServer;
use meshwork_api::meshwork::admin::v1::event_source_service_server::EventSourceServiceServer;
use meshwork_api::meshwork::products::v1::inventory_service_server::InventoryServiceServer;
use meshwork_api::meshwork::products::v1::product_service_server::ProductServiceServer;
use meshwork_cache::Tiers;
use meshwork_chassis::auth::{GrpcKeys, ServiceIdentity, Verifier};
use meshwork_chassis::cache::{self, CacheGrpc, Follower};
use meshwork_chassis::config::Reads;
use meshwork_chassis::events::{AuditGrpc, DeadLetterGrpc, EventSourceGrpc, GrpcEventSources};
use meshwork_chassis::server::{self, listen};
use meshwork_chassis::start::Start;
use meshwork_chassis::{Background, CancellationToken, Health, ServeError, bus, checks, compressed};
use meshwork_events::{Bus, Consumer, Relay};
use meshwork_sql::AppliedMigration;

use crate::Config;
use crate::adapters::cached::{self, CachedCatalogue};
use crate::adapters::errors::DOMAIN;
use crate::adapters::grpc::{InventoryGrpc, ProductsGrpc};
use crate::adapters::orders_events::{CONSUMER, OrderEvents, STREAM};
use crate::adapters::stores::{self, Stores};
use crate::adapters::sweeper;
use crate::app::App;
use crate::ports::Catalogue;

/// How far behind events may be before the service is degraded.
const LAG: Duration = Duration::from_secs(30);
/// The stream that we publish to.
const PUBLISHED: &str = "products";

/// Runs the service until `shutdown`. When it returns, its background tasks have ended. `health` tells how it is.
///
/// # Errors
/// When a setting is wrong, the store or the bus can't be opened, the address can't be bound, or a part of it fails.
pub async fn serve(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), ServeError> {
    let reservation_ttl = config.hold()?;
    let users = config.client.channel("products.auth.users", &config.auth.users)?;
    let keys = Arc::new(GrpcKeys::new(users.clone()));
    let verifier = Arc::new(Verifier::new(keys, &config.auth.issuer, &config.auth.audience));
    let listener = listen(&config.listen)?;
    let start = Start::new(config.migrations, &health, &shutdown);
    let opened = start.open(config.is_on_servers(), || stores::open(&config, CONSUMER)).await?;
    let Some(stores) = opened else { return Ok(()) };
    let Stores { catalogue, inventory, stocks, inbox, events, history, check, replicas, pruning, identity } = stores;
    let tiers = cache::open(&config.redis, &config.cache, PUBLISHED, &identity)?;
    let catalogue: Arc<dyn Catalogue> = match &tiers {
        Some(tiers) => Arc::new(CachedCatalogue::new(catalogue, tiers, &config.cache)),
        None => catalogue,
    };
    let bus = bus::open("products", &config.bus, &config.nats, &[]).await?;
    let streams = || bus::require(&bus, &config.nats, &[PUBLISHED, STREAM]);
    let Some(()) = start.require(config.nats.is_set(), streams).await? else { return Ok(()) };
    start.done();

    let callers = ServiceIdentity::new(config.auth.credentials.clone(), users).credentials(DOMAIN);
    let orders = callers.channel(config.client.channel("products.orders", &config.orders)?);
    let app = App { catalogue, inventory, reservation_ttl };
    // What the cache answers is at most a second old; what it loads, it reads from the primary. Stocks are not cached.
    let stock_reads = config.postgres.reads;
    let reads = if tiers.is_some() { Reads::Bounded } else { stock_reads };

    health.check(check);
    if let Some(check) = replicas {
        health.check(check);
    }
    // Without Redis there is nothing that could fail.
    if let Some(tiers) = tiers.clone().filter(|tiers| tiers.state().is_some()) {
        health.check(checks::shared("cache", tiers, |tiers: Tiers| std::future::ready(tiers.check())));
    }
    health.check(checks::shared("bus", bus.clone(), |bus: Arc<dyn Bus>| async move { bus.ping().await }));
    health.check(checks::dead_letters(inbox.clone()));
    let audit = AuditGrpc::new(bus.clone(), DOMAIN).source(events.clone(), PUBLISHED);
    let audit = audit.consumer(inbox.clone(), &[STREAM], true).stocks(stocks);
    // Without Redis nothing is cached for longer than a second.
    let followed = tiers.clone().filter(|tiers| tiers.state().is_some());
    let follower =
        followed.map(|tiers| Follower::new(tiers, PUBLISHED.to_owned(), events.clone(), cached::outdated_by));
    let relay = Relay::new(events, bus.clone(), PUBLISHED).checkpoint(inbox.clone()).parking(inbox.clone());
    let consumer = Consumer::new(bus, CONSUMER, STREAM, Arc::new(OrderEvents::new(app.clone())), inbox.clone())
        .backfill(Arc::new(GrpcEventSources::new().source("orders", orders)));
    // Both park in one database. An event of ours waits to be published; an event of an order, to be handled.
    let mut redrivers = vec![(Some(STREAM), consumer.redriver())];
    redrivers.extend(relay.redriver().map(|redriver| (Some(PUBLISHED), redriver)));
    let letters = DeadLetterGrpc::new(inbox, redrivers, "products", DOMAIN);
    health.check(checks::lag("relay", LAG, relay.progress()));
    health.check(checks::lag("consumer of orders", LAG, consumer.progress()));
    let retention = pruning(relay.published(), &config.retention);

    let server = server::builder(&config.server, DOMAIN, &verifier, &health)?
        .add_service(compressed!(ProductServiceServer::new(ProductsGrpc::new(app.clone(), reads))))
        .add_service(compressed!(InventoryServiceServer::new(InventoryGrpc::new(app.clone(), stock_reads))))
        .add_service(compressed!(EventSourceServiceServer::new(EventSourceGrpc::new(history, DOMAIN))))
        .add_service(compressed!(AuditServiceServer::new(audit)))
        .add_service(compressed!(DeadLetterServiceServer::new(letters)))
        .add_service(compressed!(CacheServiceServer::new(CacheGrpc::new(tiers, PUBLISHED, DOMAIN).tags(cached::TAGS))));
    // When a task ends by itself, reservations stand still.
    let mut background = Background::new();
    background.spawn("relay", |stop| async move { relay.run(stop).await });
    background.spawn("consumer of orders", |stop| async move { consumer.run(stop).await });
    if let Some(follower) = follower {
        background.spawn("follower for the cache", |stop| follower.run(stop));
    }
    background.spawn("sweeper", |stop| sweeper::run(app, config.sweep_interval, stop));
    background.spawn("retention", |stop| retention.run(stop));
    background.spawn("keys", server::require_keys(verifier, &health));
    background.beside(&shutdown, |drain| server::serve(server, listener, drain)).await
}

/// Brings the store and the bus to the form that this version needs, without serving, whatever `migrations` says of the start;
/// returns what they hold.
///
/// # Errors
/// When a database can't be opened or migrated.
pub async fn migrate(config: &Config) -> Result<Vec<AppliedMigration>, ServeError> {
    let mut applied = stores::migrate(config).await?;
    applied.extend(bus::migrate("products", &config.bus, &config.nats, &[PUBLISHED]).await?);
    Ok(applied)
}
