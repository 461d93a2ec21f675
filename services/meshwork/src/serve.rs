//! `meshwork serve`: one service.

use std::path::Path;
use std::sync::Arc;

use meshwork_chassis::config::Listen;

use crate::cli::{ServiceName, SettingsArgs};
use crate::config::{Flags, Settings, load};
use crate::failure::Failure;
use crate::health::Port;
use crate::lock::{DataLock, Share};
use crate::run::Running;
use crate::{logs, ops};

/// Runs one service until a signal.
///
/// # Errors
/// When it can't start or fails.
pub async fn run(args: &SettingsArgs, service: ServiceName) -> Result<(), Failure> {
    let (settings, _) = load(args, &Flags::new())?;
    logs::start(&settings)?;
    let (listen, folder) = place(&settings, service);
    // Services of one data folder run beside each other, but not beside an `up`, and each only once.
    let _locks = match folder {
        Some(folder) => {
            Some((DataLock::take(&settings.data, Share::WithOthers)?, DataLock::take(folder, Share::Alone)?))
        }
        None => None,
    };
    let ops_listener = meshwork_chassis::server::listen(&settings.ops)?;
    let port = Port::new(&reachable(&listen))?;
    let mut running = Running::new();
    let shutdown = running.shutdown.clone();
    running.spawn(ops::serve(ops_listener, Arc::new(vec![(service.as_str(), port.clone())]), shutdown.clone()));
    match service {
        ServiceName::Users => running.spawn(meshwork_users::serve(settings.users, shutdown)),
        ServiceName::Products => running.spawn(meshwork_products::serve(settings.products, shutdown)),
        ServiceName::Orders => running.spawn(meshwork_orders::serve(settings.orders, shutdown)),
        ServiceName::Notifications => running.spawn(meshwork_notifications::serve(settings.notifications, shutdown)),
        ServiceName::Gateway => running.spawn(meshwork_gateway::serve(settings.gateway, shutdown)),
    }
    let announce = async {
        port.wait().await;
        tracing::info!(service = service.as_str(), address = %listen.address(), "serving");
    };
    tokio::select! {
        result = running.until_signal() => result,
        never = async { announce.await; std::future::pending().await } => never,
    }
}

/// Where a service listens, and its own folder.
fn place(settings: &Settings, service: ServiceName) -> (Listen, Option<&Path>) {
    match service {
        ServiceName::Users => (settings.users.listen.clone(), Some(settings.users.data.as_path())),
        ServiceName::Products => (settings.products.listen.clone(), Some(settings.products.data.as_path())),
        ServiceName::Orders => (settings.orders.listen.clone(), Some(settings.orders.data.as_path())),
        ServiceName::Notifications => {
            (settings.notifications.listen.clone(), Some(settings.notifications.data.as_path()))
        }
        ServiceName::Gateway => (settings.gateway.listen.clone(), None),
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
