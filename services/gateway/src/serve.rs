//! The gateway as a whole.

use std::sync::Arc;

use meshwork::server::proxy::Proxy;
use meshwork::server::{is_health_check, is_reflection};
use meshwork_api::FILE_DESCRIPTOR_SET;
use meshwork_chassis::auth::{AccessTable, GrpcKeys, Verifier};
use meshwork_chassis::server::{self, listen};
use meshwork_chassis::{CancellationToken, Health, ServeError};
use prost_reflect::DescriptorPool;
use tokio::task::JoinSet;

use crate::adapters::{
    AccessLog, BuiltIn, Channels, Clients, DOMAIN, Exchange, Front, FrontParts, Mirror, ServiceRoutes,
};
use crate::app::App;
use crate::config::{Config, HttpConfig};
use crate::domain::{Route, Upstream};

/// Runs the gateway until `shutdown`; `health` tells how it is. All that it started has ended when it returns.
///
/// # Errors
/// When it can't start, or its server fails.
pub async fn serve(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), ServeError> {
    config.check()?;
    let (refusals, calls) = config.rate_limit.limits()?;
    let listener = listen(&config.listen)?;
    let users = config.client.channel("gateway.auth.users", &config.auth.users)?;
    let keys = Arc::new(GrpcKeys::new(users.clone()));
    let verifier = Arc::new(Verifier::new(keys, &config.auth.issuer, &config.auth.audience));
    let channels = channels(&config)?;
    let app = App::new(&BuiltIn);
    let services = app.list_services();
    let clients = Clients::new(server::trusted_proxies(&config.server)?);
    let log = access_log(&config, &app, &clients);
    let front = front(&config, &app, log.clone())?;
    let proxy = Proxy::new(ServiceRoutes::new(app, channels.clone()));

    // Its own token, so that a server that fails ends the tasks too.
    let stop = shutdown.child_token();
    let mut builder = server::builder(&config.server, DOMAIN, &verifier, &health)?
        // What only services may call is unknown here, to everybody.
        .access(AccessTable::from_contracts()?.without_internal().layers())
        .show(services.iter().map(|(name, _)| name.clone()))
        .limit_by_address(refusals)
        .limit_by_principal(calls);
    if config.exchange {
        let exchange = Exchange::new(verifier.authenticator(DOMAIN), &config.auth.issuer, users, clients);
        builder = builder.authenticator(Arc::new(exchange));
    }
    if let Some(log) = log {
        builder = builder.observer(Arc::new(log));
    }
    if let Some(front) = front {
        builder = builder.http(front);
    }
    let server = builder.fallback(proxy.clone(), move |path| proxy.has(path));

    let mut tasks = JoinSet::new();
    let mirror = Mirror::new(services, health);
    for (upstream, channel) in channels {
        tasks.spawn(Arc::clone(&mirror).follow(upstream, channel, stop.clone()));
    }
    // The users service may be down while others are up: the gateway is ready before it can verify tokens.
    tasks.spawn(server::keep_keys(verifier, stop.clone()));
    let result = server::serve(server, listener, shutdown).await;
    stop.cancel();
    // Each waits for nothing but its token.
    while tasks.join_next().await.is_some() {}
    result
}

/// What logs requests; `None` when the settings want none of it.
fn access_log(config: &Config, app: &App, clients: &Clients) -> Option<AccessLog> {
    let routes = app.clone();
    // What the port answers by itself is known too.
    let knows = move |path: &str| routes.find_route(path).is_some() || is_health_check(path) || is_reflection(path);
    config.access_log.enabled.then(|| AccessLog::new(config.access_log.sample, clients.clone(), Arc::new(knows)))
}

/// What answers besides gRPC; `None` when the settings want nothing of it.
fn front(config: &Config, app: &App, log: Option<AccessLog>) -> Result<Option<Front>, ServeError> {
    if !config.http.enabled {
        return Ok(None);
    }
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).map_err(|error| {
        ServeError::new(format!("the contracts can't be read: {error}"), "this program is damaged; install it again")
    })?;
    let (routes, upstreams) = (app.clone(), app.clone());
    // More than the port takes of a message would be read in vain, and isn't counted as it comes.
    let max_body = config.http.max_body.min(config.server.max_message_size);
    Ok(Some(Front::new(FrontParts {
        pool,
        has: Arc::new(move |path: &str| routes.find_route(path).is_some()),
        upstreams: Arc::new(move |path: &str| upstreams.find_route(path).map(names)),
        config: HttpConfig { max_body, ..config.http.clone() },
        takes_keys: config.exchange,
        log,
    })))
}

fn names(route: Route) -> Vec<&'static str> {
    route.upstreams.iter().map(|upstream| upstream.as_str()).collect()
}

fn channels(config: &Config) -> Result<Channels, ServeError> {
    let upstreams = &config.upstreams;
    let target = |upstream| match upstream {
        Upstream::Users => ("gateway.upstreams.users", &upstreams.users),
        Upstream::Products => ("gateway.upstreams.products", &upstreams.products),
        Upstream::Orders => ("gateway.upstreams.orders", &upstreams.orders),
        Upstream::Notifications => ("gateway.upstreams.notifications", &upstreams.notifications),
    };
    Upstream::ALL
        .into_iter()
        .map(|upstream| {
            let (key, target) = target(upstream);
            Ok((upstream, config.client.channel(key, target)?))
        })
        .collect()
}
