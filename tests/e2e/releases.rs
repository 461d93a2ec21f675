//! This release and the one before it, on the same data: after each other, and beside each other (E9).
//!
//! The release before is built once, from its commit, and kept beside the other tools of the tests; that takes minutes, so
//! these run with `cargo xtask test --full`.

use std::path::{Path, PathBuf};
use std::process::Command;

use meshwork_api::meshwork::orders::v1::order;
use meshwork_testkit::up::{UNLIMITED, command_of, text};
use meshwork_testkit::{Mongo, Postgres};

use crate::processes::{NAMES, Processes};
use crate::shop::{add_product, get_order, settled_order};

/// The commit of the release before.
const BEFORE: &str = "ec9af1688f9a0fe43e4831a3cdf47c2fb54f9666";

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
}

/// The binary of the release before.
fn before() -> PathBuf {
    let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = home.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"));
    let folder = home.join("meshwork/releases").join(BEFORE);
    let binary = folder.join("target/debug/meshwork");
    std::fs::create_dir_all(&folder).unwrap();
    let lock = std::fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    if !binary.exists() {
        let root = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
        let (archive, sources) = (folder.join("sources.tar"), folder.join("sources"));
        run(Command::new("git").current_dir(root).args(["archive", "--output"]).arg(&archive).arg(BEFORE));
        std::fs::create_dir_all(&sources).unwrap();
        run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&sources));
        let mut build = Command::new("cargo");
        build.current_dir(&sources).args(["build", "--locked", "--bin", "meshwork"]);
        run(build.env("CARGO_TARGET_DIR", folder.join("target")).env_remove("CARGO_MANIFEST_DIR"));
    }
    binary
}

/// The settings that the release before knows too.
fn known_before<'s>(settings: &[(&'s str, &'s str)]) -> Vec<(&'s str, &'s str)> {
    const NEW: [&str; 2] = ["MESHWORK_USERS__SIGN_", "MESHWORK_USERS__PASSWORDS__"];
    settings.iter().copied().filter(|(key, _)| !NEW.iter().any(|new| key.starts_with(new))).collect()
}

/// Runs `meshwork migrate`, and an order from its placing to its letter, on all services of one release.
fn sells(folder: &Path, binary: &Path) -> String {
    let mut migrate = command_of(binary, folder);
    run(migrate.args(["migrate", "--data"]).arg(folder.join("data")));
    let mut processes = Processes::new(folder, &known_before(UNLIMITED));
    for name in NAMES {
        processes.runs(name, binary);
    }
    processes.start_all();
    let demo = processes.demo();
    assert!(demo.status.success(), "{}\n{}", text(&demo.stderr), processes.log("orders"));
    let outcome: serde_json::Value = serde_json::from_slice(&demo.stdout).unwrap();
    assert_eq!(outcome["state"], "CONFIRMED", "{outcome}");
    outcome["order"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn e9_databases_go_from_the_release_before_to_this_one_and_back() {
    if !crate::full() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (before(), meshwork_testkit::up::binary());
    let mut orders = Vec::new();
    for binary in [&old, &new, &old, &new] {
        orders.push(sells(folder.path(), binary));
    }
    let mut processes = Processes::new(folder.path(), UNLIMITED);
    processes.start_all();
    let gateway = processes.gateway();
    let staff = gateway.staff().await;
    for name in orders {
        assert_eq!(get_order(gateway.channel(), &staff, &name).await.state(), order::State::Confirmed, "{name}");
    }
    for service in ["products", "orders", "notifications"] {
        let health = processes.health(service);
        assert!(!health.contains("are parked"), "{service}: {health}");
    }
}

/// On servers, where they can: the release before keeps only orders there.
#[tokio::test(flavor = "multi_thread")]
async fn e9_orders_of_two_releases_run_beside_each_other() {
    if !crate::full() {
        return;
    }
    let (mongo, postgres, folder) = (Mongo::start(), Postgres::start(), tempfile::tempdir().unwrap());
    let (database, lists) = (mongo.database(), postgres.database());
    let settings = known_before(&crate::stores::on(mongo.uri(), &database, &lists));
    let mut processes = Processes::several(folder.path(), &[("orders", 2)], &settings);
    processes.runs("orders-2", &before());
    // The older one makes the tables; the newer one adds to them while it runs, and it starts once more after that.
    for label in ["users", "orders-2"] {
        processes.start(label);
        processes.wait_for(label);
    }
    processes.start_all_but(&["users", "orders-2"]);
    processes.kill("orders-2");
    processes.start("orders-2");
    processes.wait_for("orders-2");
    let gateway = processes.gateway();
    let staff = gateway.staff().await;
    let product = add_product(gateway.channel(), &staff, "both", 40).await;
    let customer = gateway.sign_up("both").await;
    let mut orders = Vec::new();
    for _ in 0..40 {
        orders.push(crate::restored::place(&gateway, &staff, &customer, &product).await);
    }
    for name in &orders {
        assert_eq!(settled_order(gateway.channel(), &staff, name).await.state(), order::State::Confirmed);
    }
}
