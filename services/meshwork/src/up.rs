//! `meshwork up`: everything in one process.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use meshwork_chassis::config::Listen;
use meshwork_chassis::{CancellationToken, ServeError};

use crate::cli::{SettingsArgs, UpArgs};
use crate::config::{Settings, load};
use crate::failure::Failure;
use crate::health::Port;
use crate::lock::{DataLock, Share};
use crate::run::Running;
use crate::state::Note;
use crate::{logs, ops};

/// Runs the five services until a signal.
///
/// # Errors
/// When one can't start or fails.
pub async fn run(args: &SettingsArgs, up: UpArgs) -> Result<(), Failure> {
    let started = Instant::now();
    let loopback = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string();
    let gateway = up.port.map(|port| ("gateway.listen", loopback(port)));
    let ops_port = up.ops_port.map(|port| ("ops", loopback(port)));
    let (mut settings, _) = load(args, &gateway.into_iter().chain(ops_port).collect())?;
    logs::start(&settings)?;
    let _lock = DataLock::take(&settings.data, Share::Alone)?;
    bind(&mut settings)?;

    let addresses = [
        ("gateway", settings.gateway.listen.address()),
        ("users", settings.users.listen.address()),
        ("products", settings.products.listen.address()),
        ("orders", settings.orders.listen.address()),
        ("notifications", settings.notifications.listen.address()),
    ];
    let ports = addresses.iter().map(|(name, address)| Ok((*name, Port::new(&address.to_string())?)));
    let ports: ops::Ports = Arc::new(ports.collect::<Result<_, Failure>>()?);
    let ops_address = settings.ops.address();
    let ops_listener = meshwork_chassis::server::listen(&settings.ops)?;
    let credentials = settings.users.credentials.join("staff.json");
    let data = settings.data.clone();

    let mut running = Running::new();
    let shutdown = running.shutdown.clone();
    // The services behind the gateway stop after it, so that its last calls still reach them.
    let behind = CancellationToken::new();
    running.spawn(ops::serve(ops_listener, ports.clone(), behind.clone()));
    running.spawn(meshwork_users::serve(settings.users, behind.clone()));
    running.spawn(meshwork_products::serve(settings.products, behind.clone()));
    running.spawn(meshwork_orders::serve(settings.orders, behind.clone()));
    running.spawn(meshwork_notifications::serve(settings.notifications, behind.clone()));
    running.spawn(async move {
        let served = meshwork_gateway::serve(settings.gateway, shutdown).await;
        behind.cancel();
        served
    });
    let all_serving = async {
        join_all(ports.iter().map(|(_, port)| port.wait())).await;
    };
    running.until(all_serving).await?;

    let gateway = addresses[0].1;
    let _note = Note::leave(gateway.port(), &credentials);
    for (name, address) in addresses {
        println!("{name:<14} {:<21}  gRPC", address.to_string());
    }
    println!("{:<14} {:<21}  HTTP /livez, /readyz", "ops", ops_address.to_string());
    println!("{:<14} {}", "data", data.display());
    println!("{:<14} {}", "staff account", credentials.display());
    println!();
    println!("Try:");
    let target = if gateway.port() == 8080 { String::new() } else { format!(" --target http://{gateway}") };
    println!("  meshwork demo{target}");
    println!("  grpcurl -plaintext {gateway} list");
    println!("  grpcurl -plaintext -d @ {gateway} meshwork.users.v1.AuthService/SignIn < {}", credentials.display());
    println!();
    println!("ready in {} ms", started.elapsed().as_millis());
    running.until_signal().await
}

/// Binds all ports, so that every service knows the others' addresses before any of them starts.
fn bind(settings: &mut Settings) -> Result<(), Failure> {
    let bind = |address: SocketAddr| {
        Listen::bind(address).map_err(|error| {
            Failure::from(ServeError::new(
                format!("can't listen on {address}: {error}"),
                "stop what listens there, or choose another port with --port and --ops-port",
            ))
        })
    };
    settings.gateway.listen = bind(settings.gateway.listen.address())?;
    settings.ops = bind(settings.ops.address())?;
    // What is behind the gateway gets whatever ports are free.
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    settings.users.listen = bind(free)?;
    settings.products.listen = bind(free)?;
    settings.orders.listen = bind(free)?;
    settings.notifications.listen = bind(free)?;

    let target = |listen: &Listen| format!("http://{}", listen.address());
    let users = target(&settings.users.listen);
    let products = target(&settings.products.listen);
    let orders = target(&settings.orders.listen);
    let notifications = target(&settings.notifications.listen);
    for auth in [
        &mut settings.users.auth,
        &mut settings.products.auth,
        &mut settings.orders.auth,
        &mut settings.notifications.auth,
        &mut settings.gateway.auth,
    ] {
        auth.users.clone_from(&users);
    }
    settings.orders.products.clone_from(&products);
    settings.gateway.upstreams.users = users;
    settings.gateway.upstreams.products = products;
    settings.gateway.upstreams.orders = orders;
    settings.gateway.upstreams.notifications = notifications;
    Ok(())
}
