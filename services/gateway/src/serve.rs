//! The gateway as a whole.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use meshwork::server::health::Check;
use meshwork::server::proxy::{Proxy, Routes as _};
use meshwork_chassis::auth::{AccessTable, GrpcKeys, Verifier};
use meshwork_chassis::server::{self, behind, listen, listeners};
use meshwork_chassis::{CancellationToken, Health, ServeError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::adapters::{
    AccessLog, BuiltIn, DOMAIN, Edge, Exchange, Gate, HealthMirror, RoutesFile, ServiceRoutes, UpstreamChannels,
};
use crate::app::App;
use crate::app::commands::Loaded;
use crate::config::{Config, HttpConfig};
use crate::ports::LearnedContracts;

/// How often the file of routes is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What the port answers by itself.
const OF_PORT: [&str; 4] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Runs the gateway until `shutdown`; `health` tells how it is. All that it started has ended when it returns.
///
/// # Errors
/// When it can't start, or its server fails.
pub async fn serve(config: Config, health: Health, shutdown: CancellationToken) -> Result<(), ServeError> {
    config.check()?;
    config.warn_of_hidden_callers();
    config.warn_of_trusted_callers();
    let (built_in, mirror) = (BuiltIn::load()?, Arc::new(HealthMirror::new(health.clone())));
    let shown = built_in.services();
    let (upstreams, learned) = UpstreamChannels::new(config.client.clone(), &config.upstreams, Arc::clone(&mirror))?;
    let routes = ServiceRoutes::default();
    let log = access_log(&config, routes.clone());
    let edge = Edge { http: http(&config), takes_keys: config.exchange, log: log.clone() };
    let gate = Arc::new(Gate::new(built_in.clone(), upstreams, mirror, routes, edge));
    let source = Arc::new(RoutesFile::new(&config.routes));
    let app = App::new(source, Arc::new(built_in), Arc::clone(&gate) as _);
    let result = match app.load_routes().await {
        Ok(_) => run(&config, health, shutdown, Running { app, gate: Arc::clone(&gate), shown, learned, log }).await,
        Err(problem) => {
            Err(ServeError::new(problem, "correct the file that `gateway.routes` names, or take the setting out"))
        }
    };
    gate.stop().await;
    result
}

/// What serves, once there are routes.
struct Running {
    app: App,
    gate: Arc<Gate>,
    /// The services that reflection names from the start.
    shown: BTreeSet<String>,
    learned: mpsc::Receiver<LearnedContracts>,
    log: Option<AccessLog>,
}

/// Serves by the routes that there are, and by those that come.
async fn run(
    config: &Config,
    health: Health,
    shutdown: CancellationToken,
    Running { app, gate, shown, learned, log }: Running,
) -> Result<(), ServeError> {
    let (refusals, calls) = config.rate_limit.limits()?;
    let routes = gate.routes();
    config.rate_limit.warn_of_unused(|name| routes.knows(name));
    let listener = behind("gateway.proxy_protocol", &config.server, config.proxy_protocol, listen(&config.listen)?)?;
    let more = listeners("gateway.listeners", &config.server, &config.listeners)?;
    let users = config.client.channel("gateway.auth.users", &config.auth.users)?;
    let keys = Arc::new(GrpcKeys::new(users.clone()));
    let verifier = Arc::new(Verifier::new(keys, &config.auth.issuer, &config.auth.audience));
    let proxy = Proxy::new(gate.routes());
    let mut builder = server::builder(&config.server, DOMAIN, &verifier, &health)?
        // What only services may call is unknown here, to everybody.
        .access(AccessTable::from_contracts()?.without_internal().layers())
        .show(shown)
        .contracts(gate.contracts())
        .limit_by_address(refusals)
        .limit_by_principal(calls);
    if config.exchange {
        let exchange = Exchange::new(verifier.authenticator(DOMAIN), &config.auth.issuer, users);
        builder = builder.authenticator(Arc::new(exchange));
    }
    if let Some(log) = log {
        builder = builder.observer(Arc::new(log));
    }
    if let Some(front) = gate.front() {
        builder = builder.http(front);
    }
    let server = builder.fallback(proxy.clone(), move |path| proxy.has(path));
    let server = more.into_iter().fold(server, |server, listener| server.listen(listener));

    // Its own token, so that a server that fails ends the tasks too.
    let stop = shutdown.child_token();
    let mut tasks = JoinSet::new();
    if !config.routes.as_os_str().is_empty() {
        health.check(check(app.clone()));
    }
    tasks.spawn(keep_routes(app, learned, stop.clone()));
    // The users service may be down while others are up: the gateway is ready before it can verify tokens.
    tasks.spawn(server::keep_keys(verifier, stop.clone()));
    let result = server::serve(server, listener, shutdown).await;
    stop.cancel();
    // Each waits for nothing but its token.
    while tasks.join_next().await.is_some() {}
    result
}

/// What logs requests; `None` when the settings want none of it.
fn access_log(config: &Config, routes: ServiceRoutes) -> Option<AccessLog> {
    let has_method = move |path: &str| routes.has(path) || OF_PORT.contains(&path);
    config.access_log.enabled.then(|| AccessLog::new(config.access_log.sample, Arc::new(has_method)))
}

/// What answers besides gRPC; `None` when the settings want nothing of it.
fn http(config: &Config) -> Option<HttpConfig> {
    // More than the port takes of a message would be read in vain, and isn't counted as it comes.
    let max_body = config.http.max_body.min(config.server.max_message_size);
    config.http.enabled.then(|| HttpConfig { max_body, ..config.http.clone() })
}

/// A check that calls go as the configuration says: the gateway serves on when they don't, by what it has.
fn check(app: App) -> Check {
    let probe = move || std::future::ready(app.problem().map_or(Ok(()), Err));
    Check::new("routes", probe).interval(LOOK).fails_after(1, Duration::ZERO).passes_after(1)
}

/// Has calls go by what the configuration says now, and by what upstreams tell, until `stop`.
async fn keep_routes(app: App, mut learned: mpsc::Receiver<LearnedContracts>, stop: CancellationToken) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let keep = async {
        loop {
            tokio::select! {
                _ = look.tick() => match app.load_routes().await {
                    Ok(Loaded::Unchanged) => {}
                    Ok(Loaded::Replaced { upstreams, routes }) => {
                        tracing::info!(upstreams, routes, "calls go by new routes");
                    }
                    Err(problem) => tracing::warn!(%problem, "routes can't be used, and calls go as before"),
                },
                Some(contracts) = learned.recv() => {
                    let upstream = contracts.upstream.clone();
                    if let Err(problem) = app.learn_contracts(contracts).await {
                        tracing::warn!(%upstream, %problem, "what the upstream tells of its contracts can't be offered");
                    }
                }
            }
        }
    };
    stop.run_until_cancelled(keep).await;
}
