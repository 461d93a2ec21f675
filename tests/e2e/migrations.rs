//! Services that wait for `meshwork migrate`, and the health port that tells of it.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use meshwork_testkit::up::{command, text};
use meshwork_testkit::{Mongo, Nats, Postgres};
use serde_json::Value;

use crate::processes::{NAMES, Processes};

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// How the log begins to say that a service serves.
const SERVING: &str = "serving service=";
/// The services that have stores.
const STORING: [&str; 4] = ["users", "products", "orders", "notifications"];

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// So many ports that nobody listens on.
fn free_ports(count: usize) -> Vec<String> {
    let ports: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    ports.iter().map(|port| port.local_addr().unwrap().to_string()).collect()
}

/// Whether a name is SERVING at a health port, as an exec probe finds it out; else what is said instead.
fn serving(folder: &Path, port: &str, name: &str) -> Result<(), String> {
    let check = ["healthcheck", port, "--service", name, "--timeout", "10s"];
    let output = command(folder).args(check).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(text(&output.stderr)) }
}

fn migrate(folder: &Path, settings: &[(&str, &str)], args: &[&str]) -> Command {
    let mut migrate = command(folder);
    migrate.args(["migrate", "--data"]).arg(folder.join("data")).args(args).envs(settings.iter().copied());
    migrate.stdout(Stdio::piped()).stderr(Stdio::piped());
    migrate
}

#[test]
fn services_that_wait_make_nothing_and_serve_once_their_stores_are_migrated() {
    let (mut postgres, mongo, nats) = (Postgres::private(), Mongo::start(), Nats::start());
    let (url, documents, bus) = (postgres.database(), mongo.database(), nats.url());
    let database = url.rsplit('/').next().unwrap().to_owned();
    let settings = [
        ("MESHWORK_MIGRATIONS", "wait"),
        ("MESHWORK_USERS__POSTGRES__URL", url.as_str()),
        ("MESHWORK_PRODUCTS__POSTGRES__URL", url.as_str()),
        ("MESHWORK_ORDERS__POSTGRES__URL", url.as_str()),
        ("MESHWORK_NOTIFICATIONS__POSTGRES__URL", url.as_str()),
        ("MESHWORK_ORDERS__MONGO__URI", mongo.uri()),
        ("MESHWORK_ORDERS__MONGO__DATABASE", documents.as_str()),
        ("MESHWORK_NATS_URL", bus.as_str()),
        ("MESHWORK_GATEWAY__SERVER__DRAIN_DELAY", "8s"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ports = free_ports(NAMES.len());
    let port = |label: &str| ports[NAMES.iter().position(|name| *name == label).unwrap()].as_str();
    let mut processes = Processes::new(folder, &settings);

    // Not even the server is there.
    postgres.kill();
    for label in NAMES {
        processes.start_with(label, &[("MESHWORK_HEALTH", port(label))]);
    }
    for label in NAMES {
        eventually("the health port", || serving(folder, port(label), "liveness").is_ok());
    }
    for label in STORING {
        eventually("the first try", || processes.health(label).contains("stores ("));
        let told = serving(folder, port(label), "startup").unwrap_err();
        assert!(told.contains("NOT_SERVING"), "{told}");
        assert_eq!(processes.readiness(label), Some(503), "{label}");
        assert_eq!(serving(folder, port(label), "liveness"), Ok(()), "{label}");
    }
    // A gateway has no stores, and is there before those behind it.
    eventually("the gateway", || serving(folder, port("gateway"), "startup").is_ok());
    assert!(processes.log("users").contains("the start waits"), "{}", processes.log("users"));

    // Whoever ends one that waits needn't wait.
    let asked = Instant::now();
    processes.stop("products");
    assert!(asked.elapsed() < Duration::from_secs(20), "the stop took {:?}", asked.elapsed());
    assert!(!processes.log("products").contains(SERVING), "it never served");
    processes.start_with("products", &[("MESHWORK_HEALTH", port("products"))]);

    postgres.restart();
    for label in ["users", "products", "notifications"] {
        eventually("the server", || processes.health(label).contains("not at this release yet"));
    }
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname IN ('users', 'products', 'orders', 'notifications')";
    assert_eq!(postgres.sql(&database, schemas), "0");

    // They apply, though the settings of the services say that those wait. Of several one does it.
    let migrating: Vec<_> = (0..3).map(|_| migrate(folder, &settings, &[]).spawn().unwrap()).collect();
    for migrating in migrating {
        let output = migrating.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("up to date"));
    }
    for label in NAMES {
        for name in ["startup", "readiness", "liveness", ""] {
            eventually(label, || serving(folder, port(label), name).is_ok());
        }
        processes.wait_for(label);
        assert_eq!(processes.readiness(label), Some(200), "{label}");
        eventually("the log", || processes.log(label).contains(SERVING));
    }
    mongo.index(&documents);
    let demo = processes.demo();
    let outcome: Value = serde_json::from_slice(&demo.stdout).unwrap();
    assert_eq!(outcome["state"], "CONFIRMED", "{outcome}");

    // While it drains it takes no more calls, and is left alone.
    std::thread::scope(|scope| {
        let checks = scope.spawn(|| {
            eventually("the drain", || serving(folder, port("gateway"), "readiness").is_err());
            let told = serving(folder, port("gateway"), "readiness").unwrap_err();
            assert!(told.contains("NOT_SERVING"), "{told}");
            assert_eq!(serving(folder, port("gateway"), "liveness"), Ok(()));
        });
        processes.stop("gateway");
        checks.join().unwrap();
    });
}

#[test]
fn migrate_waits_for_a_server_within_its_patience() {
    let mut postgres = Postgres::private();
    let (url, folder) = (postgres.database(), tempfile::tempdir().unwrap());
    postgres.kill();
    let refused = migrate(folder.path(), &[], &["--postgres", &url, "--patience", "0s"]).output().unwrap();
    let said = text(&refused.stderr);
    assert!(!refused.status.success() && said.starts_with("error: ") && said.contains("\n hint: "), "{said}");
    let waiting = migrate(folder.path(), &[], &["--postgres", &url, "--patience", "90s"]).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    postgres.restart();
    let migrated = waiting.wait_with_output().unwrap();
    assert!(migrated.status.success(), "{}", text(&migrated.stderr));
    assert!(text(&migrated.stderr).contains("waiting: "), "{}", text(&migrated.stderr));
    // No credentials were made, and no key: it needs none.
    assert!(!folder.path().join("data/credentials").exists());
    assert!(!folder.path().join("data/users/signing-key.pem").exists());
}
