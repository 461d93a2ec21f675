//! The gateway as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use meshwork_chassis::auth::{GrpcKeys, Verifier};
use meshwork_chassis::server::{GrpcServer, listen};
use meshwork_chassis::{CancellationToken, ServeError};
use tokio::task::JoinSet;
use tonic_health::ServingStatus;
use tower::layer::util::Stack;

use crate::adapters::{Channels, ClientLimit, DOMAIN, ProxyLayer, RateLimits, RefusalLimit, mirror, routes};
use crate::app::App;
use crate::config::Config;
use crate::domain::Upstream;

/// How often idle clients are forgotten.
const FORGET: Duration = Duration::from_secs(10);

/// Runs the gateway until `shutdown`. All that it started has ended when it returns.
///
/// # Errors
/// When it can't start, or its server fails.
pub async fn serve(config: Config, shutdown: CancellationToken) -> Result<(), ServeError> {
    let limits = Arc::new(config.limits()?);
    let listener = listen(&config.listen)?;
    let users = config.client.channel("gateway.auth.users", &config.auth.users)?;
    let verifier = Verifier::new(Arc::new(GrpcKeys::new(users)), &config.auth.issuer, &config.auth.audience);
    let channels = channels(&config)?;
    let app = App::new(routes(), limits.clone());
    let services = app.list_services();

    // Its own token, so that a server that fails ends the tasks too.
    let stop = shutdown.child_token();
    let proxy = ProxyLayer::new(app.clone(), channels.clone(), stop.clone());
    let server = GrpcServer::new(Arc::new(verifier), DOMAIN)
        .await
        .show(services.iter().map(|(name, _)| name.clone()))
        .before_auth(RefusalLimit::new(app.clone()))
        .after_auth(Stack::new(proxy, ClientLimit::new(app)))
        // The users service may be down while others are up.
        .ready_without_keys();

    let mut tasks = JoinSet::new();
    let mut behind = BTreeMap::<Upstream, Vec<String>>::new();
    for (service, upstream) in services {
        // Known from the first moment: a probe of a name that the port doesn't know is an error.
        server.health().set_service_status(&service, ServingStatus::NotServing).await;
        behind.entry(upstream).or_default().push(service);
    }
    for (upstream, services) in behind {
        if let Some(channel) = channels.get(&upstream) {
            tasks.spawn(mirror(services, channel.clone(), server.health(), stop.clone()));
        }
    }
    tasks.spawn(forget_idle(limits, stop.clone()));
    let result = server.serve(listener, async {}, shutdown).await;
    stop.cancel();
    // Each waits for nothing but its token.
    while tasks.join_next().await.is_some() {}
    result
}

async fn forget_idle(limits: Arc<RateLimits>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(FORGET)).await.is_some() {
        limits.forget_idle();
    }
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
