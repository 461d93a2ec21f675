//! `meshwork serve`: one service.

use std::path::{Path, PathBuf};

use meshwork::server::HealthPort;
use meshwork::server::ops::Ops;
use meshwork_chassis::config::Listen;
use meshwork_chassis::{Health, ServerConfig};

use crate::cli::{ServiceName, SettingsArgs};
use crate::config::{Flags, Settings, left_accounts, load};
use crate::failure::Failure;
use crate::lock::{DataLock, Share};
use crate::logs;
use crate::metrics;
use crate::run::Running;

/// Runs one service until a signal.
///
/// # Errors
/// When it can't start or fails.
pub async fn run(args: &SettingsArgs, service: ServiceName) -> Result<(), Failure> {
    let (mut settings, _) = load(args, &Flags::new())?;
    logs::start(&settings)?;
    if service == ServiceName::Users {
        tell_left_accounts(args, &settings);
    }
    let (listen, folder) = place(&settings, service);
    // Services of one data folder run beside each other, but not beside an `up`, and each only once that keeps something
    // there.
    let _shared = match service {
        ServiceName::Gateway => None,
        _ => Some(DataLock::take(&settings.data, Share::WithOthers)?),
    };
    let _alone = folder.map(|folder| DataLock::take(folder, Share::Alone)).transpose()?;
    let ops_listener = meshwork_chassis::server::listen(&settings.ops)?;
    let health_listener = settings.health.get().map(meshwork_chassis::server::listen).transpose()?;
    let health = Health::new();
    let mut running = Running::new();
    let shutdown = running.shutdown.clone();
    let budgets = server(&mut settings, service).open_budgets();
    let ops = Ops::new().health(service.as_str(), health.clone()).budgets(service.as_str(), budgets);
    let telemetry = metrics::measure(&mut settings)?;
    running.spawn_ops(metrics::show(ops, telemetry), ops_listener);
    if let Some(listener) = health_listener {
        running.spawn_health(HealthPort::new().health(health.clone()), listener);
    }
    let ready = health.clone();
    match service {
        ServiceName::Users => running.spawn(meshwork_users::serve(settings.users, health, shutdown)),
        ServiceName::Products => running.spawn(meshwork_products::serve(settings.products, health, shutdown)),
        ServiceName::Orders => running.spawn(meshwork_orders::serve(settings.orders, health, shutdown)),
        ServiceName::Notifications => {
            running.spawn(meshwork_notifications::serve(settings.notifications, health, shutdown))
        }
        ServiceName::Gateway => running.spawn(meshwork_gateway::serve(settings.gateway, health, shutdown)),
    }
    let announce = async {
        // One that is stopped while it starts never is.
        if ready.ready().await {
            tracing::info!(service = service.as_str(), address = %listen.address(), "serving");
        }
    };
    tokio::select! {
        result = running.until_signal() => result,
        never = async { announce.await; std::future::pending().await } => never,
    }
}

/// Says that accounts stay in the folder though a PostgreSQL is named, where that is so.
pub fn tell_left_accounts(args: &SettingsArgs, settings: &Settings) {
    if left_accounts(args, settings) {
        tracing::info!(
            folder = %settings.users.data.display(),
            "the accounts stay in this folder, where they lie: they are not copied to the PostgreSQL that --postgres names; \
             whoever wants new ones there moves users.db away"
        );
    }
}

/// Where a service listens, and its own folder, unless all that it keeps is on servers: then it may run several times.
fn place(settings: &Settings, service: ServiceName) -> (Listen, Option<&Path>) {
    let Settings { users, products, orders, notifications, .. } = settings;
    let (listen, folder, on_servers) = match service {
        ServiceName::Users => (&users.listen, Some(&users.data), users.is_on_servers()),
        ServiceName::Products => (&products.listen, Some(&products.data), products.is_on_servers()),
        ServiceName::Orders => (&orders.listen, Some(&orders.data), orders.is_on_servers()),
        ServiceName::Notifications => (&notifications.listen, Some(&notifications.data), notifications.is_on_servers()),
        ServiceName::Gateway => (&settings.gateway.listen, None, true),
    };
    (listen.clone(), folder.filter(|_| !on_servers).map(PathBuf::as_path))
}

/// How a service's port serves.
fn server(settings: &mut Settings, service: ServiceName) -> &mut ServerConfig {
    match service {
        ServiceName::Users => &mut settings.users.server,
        ServiceName::Products => &mut settings.products.server,
        ServiceName::Orders => &mut settings.orders.server,
        ServiceName::Notifications => &mut settings.notifications.server,
        ServiceName::Gateway => &mut settings.gateway.server,
    }
}

/// An address at which a listening port can be asked from this machine.
pub fn reachable(listen: &Listen) -> String {
    let mut address = listen.address();
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        address.set_ip(loopback);
    }
    address.to_string()
}
