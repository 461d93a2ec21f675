//! `meshwork up`: everything in one process.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use figment::Figment;
use futures_util::future::join_all;
use meshwork::server::HealthPort;
use meshwork::server::ops::Ops;
use meshwork_chassis::config::{CacheConfig, Listen, RedisConfig};
use meshwork_chassis::{CancellationToken, Health, ServeError, bus};

use crate::cli::UpArgs;
use crate::config::{ON_THE_BUS, Settings, is_set, load};
use crate::failure::Failure;
use crate::lock::DataLock;
use crate::logs;
use crate::metrics;
use crate::run::Running;
use crate::serve::{reachable, tell_left_accounts};
use crate::state::Note;

/// Runs the five services until a signal.
///
/// # Errors
/// When one can't start or fails.
pub async fn run(up: UpArgs) -> Result<(), Failure> {
    let started = Instant::now();
    let loopback = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string();
    let gateway = up.port.map(|port| ("gateway.listen", loopback(port)));
    let ops_port = up.ops_port.map(|port| ("ops", loopback(port)));
    let (mut settings, origins) = load(&up.settings, &gateway.into_iter().chain(ops_port).collect())?;
    logs::start(&settings)?;
    tell_left_accounts(&up.settings, &settings);
    refuse_targets(&settings)?;
    refuse_several_buses(&settings)?;
    let _locks = DataLock::take_all(&settings)?;
    bind(&mut settings, &origins)?;
    stop_at_once(&mut settings, &origins);
    log_no_requests(&mut settings, &origins);

    let listens = [
        ("gateway", settings.gateway.listen.clone()),
        ("users", settings.users.listen.clone()),
        ("products", settings.products.listen.clone()),
        ("orders", settings.orders.listen.clone()),
        ("notifications", settings.notifications.listen.clone()),
    ];
    let more_listeners = settings.gateway.listeners.clone();
    let health = listens.each_ref().map(|(name, _)| (*name, Health::new()));
    let ops_address = settings.ops.address();
    let ops_listener = meshwork_chassis::server::listen(&settings.ops)?;
    let health_address = settings.health.get().map(Listen::address);
    let health_listener = settings.health.get().map(meshwork_chassis::server::listen).transpose()?;
    let credentials = settings.users.credentials.join("staff.json");
    let data = settings.data.clone();
    let mut places = vec![
        ("users", meshwork_users::place(&settings.users)),
        ("products", meshwork_products::place(&settings.products)),
    ];
    places.extend(meshwork_orders::places(&settings.orders));
    for (folder, nats) in settings.buses() {
        let bus = ("event bus", bus::place(folder, nats));
        if !places.contains(&bus) {
            places.push(bus);
        }
    }
    places.extend(meshwork_notifications::places(&settings.notifications));
    for (cache, redis) in settings.caches() {
        let cache = ("cache", cache_place(cache, redis));
        if !places.contains(&cache) {
            places.push(cache);
        }
    }

    let mut running = Running::new();
    end_together(&mut settings, &mut running);
    let shutdown = running.shutdown.clone();
    // The services behind the gateway stop after it, so that its last calls still reach them.
    let behind = CancellationToken::new();
    let budgets = [
        ("gateway", &mut settings.gateway.server),
        ("users", &mut settings.users.server),
        ("products", &mut settings.products.server),
        ("orders", &mut settings.orders.server),
        ("notifications", &mut settings.notifications.server),
    ]
    .map(|(name, server)| (name, server.open_budgets()));
    let ops = health.iter().fold(Ops::new(), |ops, (name, health)| ops.health(*name, health.clone()));
    let ops = budgets.into_iter().fold(ops, |ops, (name, budgets)| ops.budgets(name, budgets));
    let telemetry = metrics::measure(&mut settings)?;
    running.spawn_ops(metrics::show(ops, telemetry), ops_listener);
    if let Some(listener) = health_listener {
        let port = health.iter().fold(HealthPort::new(), |port, (_, health)| port.health(health.clone()));
        running.spawn_health(port, listener);
    }
    let [gateway, users, products, orders, notifications] = health.each_ref().map(|(_, health)| health.clone());
    running.spawn(meshwork_users::serve(settings.users, users, behind.clone()));
    running.spawn(meshwork_products::serve(settings.products, products, behind.clone()));
    running.spawn(meshwork_orders::serve(settings.orders, orders, behind.clone()));
    running.spawn(meshwork_notifications::serve(settings.notifications, notifications, behind.clone()));
    let http = &settings.gateway.http;
    let (has_http, has_docs) = (http.enabled, http.enabled && http.docs);
    running.spawn(async move {
        let served = meshwork_gateway::serve(settings.gateway, gateway, shutdown).await;
        behind.cancel();
        served
    });
    let all_serving = async {
        join_all(health.iter().map(|(_, health)| health.ready())).await;
    };
    running.until(all_serving).await?;

    let port = listens[0].1.address().port();
    let gateway = reachable(&listens[0].1);
    running.note = Some(Note::leave(port, &credentials));
    for (name, listen) in &listens {
        let speaks = if *name == "gateway" && has_http { "gRPC, gRPC-Web, Connect, HTTP and JSON" } else { "gRPC" };
        println!("{name:<14} {:<21}  {speaks}", listen.address().to_string());
        for more in more_listeners.iter().filter(|_| *name == "gateway") {
            println!("{:<14} {more}", "");
        }
    }
    if has_docs {
        println!("{:<14} http://{gateway}/docs", "docs");
        println!("{:<14} http://{gateway}/openapi.json", "OpenAPI");
    }
    println!("{:<14} {:<21}  HTTP /livez, /readyz, /health, /metrics", "ops", ops_address.to_string());
    if let Some(address) = health_address {
        println!("{:<14} {:<21}  gRPC, health checks alone", "health", address.to_string());
    }
    println!("{:<14} {}", "data", data.display());
    for (what, place) in &places {
        println!("{what:<14} {place}");
    }
    println!("{:<14} {}", "staff account", credentials.display());
    println!();
    println!("Try:");
    let target = if gateway == "127.0.0.1:8080" { String::new() } else { format!(" --target http://{gateway}") };
    println!("  meshwork demo{target}");
    println!("  grpcurl -plaintext {gateway} list");
    println!("  grpcurl -plaintext -d @ {gateway} meshwork.users.v1.AuthService/SignIn < {}", credentials.display());
    println!();
    println!("ready in {} ms", started.elapsed().as_millis());
    running.until_signal().await
}

/// Where a service has its cache, in words.
fn cache_place(cache: &CacheConfig, redis: &RedisConfig) -> String {
    match (cache.enabled, redis.is_set(), redis.shown()) {
        (false, ..) => "off".to_owned(),
        (true, false, _) => "in process".to_owned(),
        // Where its address can't be told from a password.
        (true, true, shown) if shown.is_empty() => "Redis".to_owned(),
        (true, true, shown) => format!("Redis, {shown}"),
    }
}

/// Binds all ports, so that every service knows the others' addresses before any of them starts.
fn bind(settings: &mut Settings, origins: &Figment) -> Result<(), Failure> {
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
    if let Some(address) = settings.health.get().map(Listen::address) {
        settings.health = bind(address)?.into();
    }
    // What is behind the gateway gets whatever ports are free, unless somebody has chosen one.
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    for (key, listen) in [
        ("users.listen", &mut settings.users.listen),
        ("products.listen", &mut settings.products.listen),
        ("orders.listen", &mut settings.orders.listen),
        ("notifications.listen", &mut settings.notifications.listen),
    ] {
        *listen = bind(if is_set(origins, key) { listen.address() } else { free })?;
    }

    let target = |listen: &Listen| format!("http://{}", reachable(listen));
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
    settings.products.orders.clone_from(&orders);
    settings.notifications.orders.clone_from(&orders);
    settings.gateway.upstreams.users = users;
    settings.gateway.upstreams.products = products;
    settings.gateway.upstreams.orders = orders;
    settings.gateway.upstreams.notifications = notifications;
    Ok(())
}

/// Nobody outside has to learn that a local system stops: there is no delay, unless somebody wants one.
fn stop_at_once(settings: &mut Settings, origins: &Figment) {
    for (key, server) in [
        ("users.server.drain_delay", &mut settings.users.server),
        ("products.server.drain_delay", &mut settings.products.server),
        ("orders.server.drain_delay", &mut settings.orders.server),
        ("notifications.server.drain_delay", &mut settings.notifications.server),
        ("gateway.server.drain_delay", &mut settings.gateway.server),
    ] {
        if !is_set(origins, key) {
            server.drain_delay = Duration::ZERO;
        }
    }
}

/// The log is for people, and has no requests of the gateway unless that is set.
fn log_no_requests(settings: &mut Settings, origins: &Figment) {
    if !is_set(origins, "gateway.access_log.enabled") {
        settings.gateway.access_log.enabled = false;
    }
}

/// Bounds the stop of all ports together. The gateway stops first, and those behind it have what its calls have left of the
/// time: where nobody reads, each of them would wait for the whole of its own.
fn end_together(settings: &mut Settings, running: &mut Running) {
    let gateway = &settings.gateway.server;
    let servers =
        [&settings.users.server, &settings.products.server, &settings.orders.server, &settings.notifications.server];
    let delay = servers.iter().map(|server| server.drain_delay).max().unwrap_or_default();
    let grace = servers.iter().map(|server| server.drain_grace).fold(gateway.drain_grace, Duration::max);
    let over = running.end_calls_after(gateway.drain_delay.saturating_add(delay).saturating_add(grace));
    for server in [
        &mut settings.gateway.server,
        &mut settings.users.server,
        &mut settings.products.server,
        &mut settings.orders.server,
        &mut settings.notifications.server,
    ] {
        server.drain_deadline = Some(over.clone());
    }
}

/// Refuses settings by which the services are on different buses: none would hear of another.
fn refuse_several_buses(settings: &Settings) -> Result<(), Failure> {
    let mut services = ON_THE_BUS.into_iter().zip(settings.buses());
    let Some((first, (folder, nats))) = services.next() else { return Ok(()) };
    let differing = services.find_map(|(service, (other_folder, other))| match nats.differs_in(other) {
        Some(key) => Some((service, format!("nats.{key}"))),
        None if !nats.is_set() && folder != other_folder => Some((service, "bus".to_owned())),
        None => None,
    });
    match differing {
        None => Ok(()),
        Some((service, key)) => Err(Failure::new(
            format!(
                "the settings {first}.{key} and {service}.{key} differ, but the services of `up` share one event bus"
            ),
            "set `nats`, or the folder of the bus, to the same for all of them",
        )),
    }
}

/// Refuses settings that point to services elsewhere: `up` runs them all itself.
fn refuse_targets(settings: &Settings) -> Result<(), Failure> {
    // The default stands in every printed configuration, and says nothing.
    let default = Settings::in_folder(&settings.data);
    let targets = |settings: &Settings| {
        let (orders, upstreams) = (&settings.orders, &settings.gateway.upstreams);
        [
            ("users.auth.users", settings.users.auth.users.clone()),
            ("products.auth.users", settings.products.auth.users.clone()),
            ("orders.auth.users", orders.auth.users.clone()),
            ("notifications.auth.users", settings.notifications.auth.users.clone()),
            ("gateway.auth.users", settings.gateway.auth.users.clone()),
            ("orders.products", orders.products.clone()),
            ("products.orders", settings.products.orders.clone()),
            ("notifications.orders", settings.notifications.orders.clone()),
            ("gateway.upstreams.users", upstreams.users.clone()),
            ("gateway.upstreams.products", upstreams.products.clone()),
            ("gateway.upstreams.orders", upstreams.orders.clone()),
            ("gateway.upstreams.notifications", upstreams.notifications.clone()),
        ]
    };
    match targets(settings).into_iter().zip(targets(&default)).find(|(set, default)| set != default) {
        None => Ok(()),
        Some(((key, target), _)) => Err(Failure::new(
            format!("the setting {key} is {target:?}, but `up` runs that service itself"),
            "take the setting out, or run the services one by one with `meshwork serve`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use meshwork_chassis::config::Secret;

    use super::*;

    #[test]
    fn where_caches_are_is_told_without_a_password() {
        let mut settings = Settings::in_folder(Path::new("data"));
        assert_eq!(settings.caches().map(|(cache, redis)| cache_place(cache, redis)), ["in process", "in process"]);
        settings.users.cache.enabled = false;
        settings.products.redis.url = Secret::new("redis://anna:hidden@cache:6380");
        let [users, products] = settings.caches().map(|(cache, redis)| cache_place(cache, redis));
        assert_eq!((users.as_str(), products.as_str()), ("off", "Redis, cache:6380"));
    }

    #[test]
    fn s7_all_ports_have_the_deadline_of_one_stop() {
        let (mut settings, mut running) = (Settings::in_folder(Path::new("data")), Running::new());
        end_together(&mut settings, &mut running);
        let (users, orders) = (&settings.users.server, &settings.orders.server);
        let over = users.drain_deadline.clone().unwrap();
        for server in [orders, &settings.products.server, &settings.notifications.server, &settings.gateway.server] {
            assert!(!server.drain_deadline.as_ref().unwrap().is_cancelled());
        }
        over.cancel();
        for server in [orders, &settings.products.server, &settings.notifications.server, &settings.gateway.server] {
            assert!(server.drain_deadline.as_ref().unwrap().is_cancelled());
        }
    }

    #[test]
    fn services_on_different_buses_are_refused_by_both_keys() {
        let mut settings = Settings::in_folder(Path::new("data"));
        refuse_several_buses(&settings).unwrap();
        settings.orders.bus = "elsewhere".into();
        let refused = |settings: &Settings| refuse_several_buses(settings).unwrap_err().to_string();
        let told = refused(&settings);
        assert!(told.contains("users.bus and orders.bus differ"), "{told}");

        let url = "nats://127.0.0.1:4222";
        for nats in [
            &mut settings.users.nats,
            &mut settings.products.nats,
            &mut settings.orders.nats,
            &mut settings.notifications.nats,
        ] {
            nats.url = url.to_owned();
        }
        // Without meaning when the bus is on NATS.
        refuse_several_buses(&settings).unwrap();
        settings.notifications.nats.url.clear();
        let told = refused(&settings);
        assert!(told.contains("users.nats.url and notifications.nats.url differ"), "{told}");
    }
}
