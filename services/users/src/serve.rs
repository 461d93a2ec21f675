//! Puts the service together and runs it.

use std::fmt::Display;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use meshwork::server::rate::{RateLimiter, RedisSettings};
use meshwork_api::meshwork::admin::v1::audit_service_server::AuditServiceServer;
use meshwork_api::meshwork::admin::v1::cache_service_server::CacheServiceServer;
use meshwork_api::meshwork::admin::v1::dead_letter_service_server::DeadLetterServiceServer;
use meshwork_api::meshwork::admin::v1::event_source_service_server::EventSourceServiceServer;
use meshwork_api::meshwork::users::v1::api_key_service_server::ApiKeyServiceServer;
use meshwork_api::meshwork::users::v1::auth_service_server::AuthServiceServer;
use meshwork_api::meshwork::users::v1::user_service_server::UserServiceServer;
use meshwork_cache::Tiers;
use meshwork_chassis::auth::Verifier;
use meshwork_chassis::cache::{self, CacheGrpc, Follower};
use meshwork_chassis::config::Reads;
use meshwork_chassis::events::{AuditGrpc, DeadLetterGrpc, EventSourceGrpc};
use meshwork_chassis::server::{self, listen};
use meshwork_chassis::start::Start;
use meshwork_chassis::{
    Background, CancellationToken, Clock, Health, ServeError, SystemClock, bus, checks, compressed,
};
use meshwork_events::{Bus, ConsumerState, Relay, ShardedState};
use meshwork_sql::AppliedMigration;

use crate::adapters::cached::{self, CachedUsers};
use crate::adapters::errors::DOMAIN;
use crate::adapters::grpc::{ApiKeyGrpc, AuthGrpc, UserGrpc};
use crate::adapters::scopes::CallableScopes;
use crate::adapters::store::SOURCE;
use crate::adapters::stores::{self, Announcing, Stores};
use crate::adapters::{
    self, Argon2id, BoundedHasher, CredentialsFolder, Ed25519Issuer, HashLimits, Issuers, LocalKeys,
    RateLimitedAttempts,
};
use crate::app::commands::KeyRenewals;
use crate::app::{App, AppError, Lifetimes, SuccessorKeys};
use crate::ports::{AddressHasher, StoreError, TokenIssuer, UserStore};
use crate::{Config, PasswordsConfig};

/// How far behind events may be before the service is degraded.
const LAG: Duration = Duration::from_secs(30);
/// How often expired sessions, and keys that ended long ago, are dropped.
const PRUNE_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// How often it is looked for deleted accounts whose time is over.
const ERASE_INTERVAL: Duration = Duration::from_secs(60);
/// How often it is tried again to make the first accounts, while the database of one of them is away.
const SEED_INTERVAL: Duration = Duration::from_secs(5);
/// How long the start waits for keys of addresses to be renewed; what is left then is renewed beside the calls.
const FIRST_RENEWAL: Duration = Duration::from_secs(10);
/// How often it is tried again to renew the keys of addresses, while databases of accounts are away.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(30);

/// Runs the service until `shutdown`; when it returns, its background work has ended too. `health` tells how it is.
///
/// # Errors
/// When a setting is wrong, or a store, the signing key, the credentials or the port can't be used.
pub async fn serve(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), ServeError> {
    config.check()?;
    let listener = listen(&config.listen)?;
    create_folder(&config)?;
    let start = Start::new(config.migrations, &health, &shutdown);
    let Some(stores) = start.open(config.is_on_servers(), || stores::open(&config)).await? else { return Ok(()) };
    let Stores { users, sessions, keys, history, announcing, checks: own, identity } = stores;
    let bus = bus::open(SOURCE, &config.bus, &config.nats, &[(SOURCE, config.shards.count())]).await?;
    let streams = || bus::require(&bus, &config.nats, &[SOURCE]);
    let Some(()) = start.require(config.nats.is_set(), streams).await? else { return Ok(()) };
    start.done();
    let tiers = cache::open(&config.redis, &config.cache, SOURCE, &identity)?;
    let users: Arc<dyn UserStore> = match &tiers {
        Some(tiers) => Arc::new(CachedUsers::new(users, tiers, &config.cache, announcing.len())),
        None => users,
    };
    // What the cache answers is at most a second old; what it loads, it reads from the primary.
    let reads = if tiers.is_some() { Reads::Bounded } else { config.postgres.reads };
    own.into_iter().for_each(|check| health.check(check));
    // Without Redis there is nothing that could fail.
    if let Some(tiers) = tiers.clone().filter(|tiers| tiers.state().is_some()) {
        health.check(checks::shared("cache", tiers, |tiers: Tiers| std::future::ready(tiers.check())));
    }
    // Without Redis nothing is cached for longer than a second.
    let followed = tiers.clone().filter(|tiers| tiers.state().is_some());
    health.check(checks::shared("bus", bus.clone(), |bus: Arc<dyn Bus>| async move { bus.ping().await }));

    // The background work outlives the calls, whose events it publishes.
    let mut background = Background::new();
    let mut audit = AuditGrpc::new(bus.clone(), DOMAIN);
    let (mut redrivers, mut states) = (Vec::new(), Vec::new());
    for Announcing { name, events, inbox, pruning } in announcing {
        let partitions = events.partitions();
        audit = audit.source(events.clone(), SOURCE);
        if let Some(tiers) = followed.clone() {
            let place = name.as_ref().map_or_else(|| SOURCE.to_owned(), |name| format!("{SOURCE}/{name}"));
            let follower = Follower::new(tiers, place, events.clone(), cached::outdated_by);
            background.spawn("follower for the cache", |stop| follower.run(stop));
        }
        let relay = Relay::new(events, bus.clone(), SOURCE).checkpoint(inbox.clone()).parking(inbox.clone());
        redrivers.extend(relay.redriver().map(|redriver| (None, redriver)));
        states.push((partitions, inbox));
        let check = name.map_or_else(|| "relay".to_owned(), |name| format!("relay {name}"));
        health.check(checks::lag(&check, LAG, relay.progress()));
        let retention = pruning(relay.published(), &config.retention);
        background.spawn("relay", |stop| async move { relay.run(stop).await });
        background.spawn("retention", |stop| async move { retention.run(stop).await });
    }
    let state = parked(states);
    health.check(checks::dead_letters(state.clone()));
    let letters = DeadLetterGrpc::new(state, redrivers, SOURCE, DOMAIN);

    let (tokens, successors) = token_issuer(&config)?;
    let public_keys = Arc::new(LocalKeys::new(tokens.clone()));
    let issuers = Arc::new(Issuers::new(&config.issuers)?);
    let verifier = Arc::new(Verifier::new(public_keys, &config.auth.issuer, &config.auth.audience));
    let app = Arc::new(App {
        users,
        sessions,
        keys,
        limits: Arc::new(attempt_limits(&config)?),
        hasher: Arc::new(hasher(&config.passwords)?),
        tokens,
        successors,
        credentials: Arc::new(CredentialsFolder::new(&config.credentials)),
        clock: Arc::new(SystemClock) as Arc<dyn Clock>,
        lifetimes: Lifetimes {
            access_token: config.access_token_ttl,
            refresh_token: config.refresh_token_ttl,
            refresh_repeat: config.refresh_repeat,
        },
        addresses: address_hasher(&config)?,
        foreign: issuers.clone(),
        erase_after: config.erase_after,
    });
    // Before anybody can take an address whose key another account is about to have.
    if !matches!(tokio::time::timeout(FIRST_RENEWAL, renew_keys(&app)).await, Ok(true)) {
        background.spawn("keys of addresses", |stop| renew_keys_later(app.clone(), stop));
    }
    match app.seed_accounts().await {
        // The others are served meanwhile.
        Err(AppError::Store(
            error @ (StoreError::Unavailable(_) | StoreError::Misplaced(_) | StoreError::Conflict(_)),
        )) if config.is_on_servers() => {
            tracing::warn!(%error, "not all of the first accounts can be made or looked up now; it is tried again");
            background.spawn("first accounts", |stop| seed_later(app.clone(), stop));
        }
        seeded => seeded.map_err(|error| seed_error(&error, &config.credentials))?,
    }

    background.spawn("keys of other issuers", |stop| async move { issuers.keep_fresh(stop).await });
    background.spawn("sweeper of sessions and keys", |stop| prune(app.clone(), stop));
    background.spawn("sweeper of deleted accounts", |stop| erase_accounts(app.clone(), stop));
    let server = server::builder(&config.server, DOMAIN, &verifier, &health)?
        .add_service(compressed!(UserServiceServer::new(UserGrpc::new(app.clone(), reads))))
        .add_service(compressed!(AuthServiceServer::new(AuthGrpc::new(app.clone()))))
        .add_service(compressed!(ApiKeyServiceServer::new(ApiKeyGrpc::new(app, CallableScopes::from_contracts()?))))
        .add_service(compressed!(EventSourceServiceServer::new(EventSourceGrpc::new(history, DOMAIN))))
        .add_service(compressed!(AuditServiceServer::new(audit)))
        .add_service(compressed!(DeadLetterServiceServer::new(letters)))
        .add_service(compressed!(CacheServiceServer::new(CacheGrpc::new(tiers, SOURCE, DOMAIN))));
    background.spawn("keys", server::require_keys(verifier, &health));
    background.beside(&shutdown, |drain| server::serve(server, listener, drain)).await
}

/// What is parked in the databases, as one.
fn parked(mut states: Vec<(std::ops::Range<u16>, Arc<dyn ConsumerState>)>) -> Arc<dyn ConsumerState> {
    if states.len() == 1
        && let Some((_, only)) = states.pop()
    {
        return only;
    }
    Arc::new(ShardedState::new(states))
}

/// Brings the service's tables, and those of the bus or the stream that it publishes to, to the version of this program, whatever
/// `migrations` says of its start.
///
/// # Errors
/// When a store can't be opened or a migration fails.
pub async fn migrate(config: &Config) -> Result<Vec<AppliedMigration>, ServeError> {
    create_folder(config)?;
    let mut applied = stores::migrate(config).await?;
    applied.extend(bus::migrate(SOURCE, &config.bus, &config.nats, &[SOURCE]).await?);
    Ok(applied)
}

/// What signs access tokens, and what refresh tokens follow by.
fn token_issuer(config: &Config) -> Result<(Arc<dyn TokenIssuer>, SuccessorKeys), ServeError> {
    let hint = "restore the file, or remove it: a new key is made then, and everybody has to sign in again";
    let keys = adapters::load_signing_keys(&config.data).map_err(|error| ServeError::new(error, hint))?;
    let issuer = Ed25519Issuer::new(&keys.current, &config.auth.issuer, &config.auth.audience)
        .map_err(|error| ServeError::new(format!("the signing key can't be used: {error}"), hint))?;
    // Until this start a key that is retired now may have signed.
    let issuer = issuer.with_retired(&keys.retired, config.access_token_ttl);
    let tokens: Arc<dyn TokenIssuer> = Arc::new(issuer);
    Ok((tokens, keys.successor_keys()))
}

fn address_hasher(config: &Config) -> Result<Arc<dyn AddressHasher>, ServeError> {
    let keys = adapters::AddressKeys::load(&config.data);
    let hint = "restore the file: without it, the addresses of erased accounts would be free";
    Ok(Arc::new(keys.map_err(|error| ServeError::new(error, hint))?))
}

/// What hashes passwords by these settings.
fn hasher(config: &PasswordsConfig) -> Result<BoundedHasher<Argon2id>, ServeError> {
    let argon2id = Argon2id::new(config.memory_kib, config.passes).map_err(|error| {
        ServeError::new(
            format!("users.passwords: no password can be hashed by them: {error}"),
            "set `users.passwords.memory_kib` to 8 or more, such as 19456, and `users.passwords.passes` to 1 or more",
        )
    })?;
    let count = |count: NonZeroU32| usize::try_from(count.get()).unwrap_or(usize::MAX);
    let limits = HashLimits {
        at_once: count(config.at_once),
        waiting_per_address: count(config.waiting_per_address),
        waiting: count(config.waiting),
        patience: config.patience,
    };
    Ok(BoundedHasher::new(argon2id, limits))
}

/// The limits of sign-ins and sign-ups, counted together with the other instances where there is a Redis.
fn attempt_limits(config: &Config) -> Result<RateLimitedAttempts, ServeError> {
    let builder = RateLimiter::builder()
        .namespace(format!("{}:{SOURCE}", config.redis.prefix))
        .instances(config.sign_in.instances.get());
    let limiter = if config.redis.is_set() {
        builder.redis(RedisSettings::new(config.redis.url.expose())).map_err(|error| {
            ServeError::new(
                format!("users.redis.url: {error}"),
                "set it to a URL such as redis://HOST:6379, or to nothing",
            )
        })?
    } else {
        builder.in_process()
    };
    Ok(RateLimitedAttempts::new(limiter, config.attempt_rates()?))
}

/// Makes the service's folder for its owner alone, since it holds the signing key, and perhaps the hashes of passwords.
fn create_folder(config: &Config) -> Result<(), ServeError> {
    adapters::create_private_folder(&config.data).map_err(|error| {
        let folder = config.data.display();
        ServeError::new(error, format!("see that the folder {folder} can be written to and has room"))
    })
}

fn seed_error(error: &dyn Display, credentials: &Path) -> ServeError {
    ServeError::new(
        format!("the first accounts can't be made: {error}"),
        format!("look into the folder of credentials, {}", credentials.display()),
    )
}

/// Makes the first accounts once their databases are there.
async fn seed_later(app: Arc<App>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(SEED_INTERVAL)).await.is_some() {
        match app.seed_accounts().await {
            Ok(()) => {
                tracing::info!("the first accounts are there");
                break;
            }
            Err(error) => tracing::warn!(%error, "not all of the first accounts can be made or looked up now"),
        }
    }
    // A background task that ends by itself would end the service.
    stop.cancelled().await;
}

/// Renews the keys of addresses; returns whether nothing is left to be renewed.
async fn renew_keys(app: &App) -> bool {
    match app.renew_keys().await {
        Ok(KeyRenewals { renewed, taken, failed, is_complete }) => {
            if renewed + taken + failed > 0 {
                tracing::info!(renewed, taken, failed, "the keys by which addresses are compared are renewed");
            }
            is_complete && failed == 0
        }
        Err(error) => {
            tracing::warn!(%error, "the keys by which addresses are compared can't be renewed at this moment");
            false
        }
    }
}

/// Erases what is personal of accounts that were deleted long enough ago, now and then.
async fn erase_accounts(app: Arc<App>, stop: CancellationToken) {
    loop {
        match app.erase_accounts().await {
            Ok(0) => {}
            Ok(accounts) => tracing::info!(accounts, "erased what was personal of deleted accounts"),
            Err(error) => tracing::warn!(%error, "not all deleted accounts can be erased at this moment"),
        }
        if stop.run_until_cancelled(tokio::time::sleep(ERASE_INTERVAL)).await.is_none() {
            return;
        }
    }
}

/// Renews the keys of addresses that could not be renewed at the start.
async fn renew_keys_later(app: Arc<App>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(RENEWAL_INTERVAL)).await.is_some() {
        if matches!(stop.run_until_cancelled(renew_keys(&app)).await, Some(true)) {
            break;
        }
    }
    // A background task that ends by itself would end the service.
    stop.cancelled().await;
}

/// Drops expired sessions, and keys that ended long ago, now and then.
async fn prune(app: Arc<App>, stop: CancellationToken) {
    loop {
        if let Err(error) = app.prune_sessions().await {
            tracing::warn!(%error, "expired sessions can't be dropped at this moment");
        }
        if let Err(error) = app.prune_keys().await {
            tracing::warn!(%error, "keys that ended long ago can't be dropped at this moment");
        }
        if stop.run_until_cancelled(tokio::time::sleep(PRUNE_INTERVAL)).await.is_none() {
            return;
        }
    }
}
