//! The chart on a real Kubernetes: installed, broken, scaled, upgraded and removed. `cargo xtask cluster test` runs it.
//!
//! Both tests are ignored elsewhere: they need a cluster, and change it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod certificates;
mod cluster;
mod faults;
mod load;
mod notes;
mod pods;
mod removal;
mod shop;
mod spread;
mod steps;
mod upgrades;

use crate::cluster::Cluster;
use crate::shop::Shop;
use crate::steps::Steps;

/// The deployments of the chart.
const SERVICES: [&str; 5] = ["users", "products", "orders", "notifications", "gateway"];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: cargo xtask cluster test"]
async fn smoke() {
    let (cluster, mut steps) = (Cluster::from_environment(), Steps::default());
    let shop = steps.time("install to Ready", Shop::install(&cluster, &[])).await;
    steps.time("helm test", shop.test()).await;
    steps.time("restart of orders under load", upgrades::restart(&shop, &["orders"])).await;
    steps.time("uninstall", removal::uninstall(shop)).await;
    steps.print();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster: cargo xtask cluster test"]
async fn everything() {
    let (cluster, mut steps) = (Cluster::from_environment(), Steps::default());
    let shop = steps.time("install to Ready", Shop::install(&cluster, &[])).await;
    steps.time("helm test", shop.test()).await;
    steps.time("the commands of the notes", notes::run_all(&shop)).await;
    pods::print_memory(&shop);
    steps.time("restart of each deployment under load", upgrades::restart(&shop, &SERVICES)).await;
    steps.time("a pod killed under load", faults::kill(&shop)).await;
    steps.time("a process frozen", faults::freeze(&shop)).await;
    steps.time("PostgreSQL stopped and started", faults::stop(&shop, "postgresql")).await;
    steps.time("Redis stopped and started", faults::stop(&shop, "redis")).await;
    steps.time("NATS stopped and started", faults::stop(&shop, "nats")).await;
    steps.time("MongoDB stopped and started", faults::stop(&shop, "mongodb")).await;
    steps.time("1 to 4 to 2 through DNS and k8s:///", spread::scale(&shop)).await;
    steps.time("a certificate renewed", certificates::renew(&shop)).await;
    steps.time("upgrade under load", upgrades::upgrade(&shop)).await;
    steps.time("helm test after all that", shop.test()).await;
    steps.time("uninstall", removal::uninstall(shop)).await;
    steps.print();
}
