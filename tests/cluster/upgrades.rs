//! Pods that are replaced while orders are placed: none fails.

use std::process::Command;

use crate::cluster::{Cluster, text};
use crate::load::Load;
use crate::shop::{RELEASE, Shop};

/// For how long orders are placed while a deployment is restarted, in seconds.
const RESTART: u32 = 15;
/// For how long they are while everything is replaced.
const UPGRADE: u32 = 60;

/// Restarts deployments, one after the other.
pub async fn restart(shop: &Shop, services: &[&str]) {
    for service in services {
        println!("-- {service}");
        let mut load = Load::start(shop, RESTART).await;
        let deployment = format!("deployment/{RELEASE}-{service}");
        shop.kubectl(&["rollout", "restart", &deployment]);
        shop.kubectl(&["rollout", "status", &deployment, "--timeout=120s"]);
        assert!(load.is_running(), "the restart took longer than the load: make that longer");
        load.all_is_well().await;
    }
}

/// Upgrades to the same image under another tag, and to other values; everything of ours is replaced. Not to other numbers of
/// replicas that need PostgreSQL: its only instance is started anew when it must allow more connections.
pub async fn upgrade(shop: &Shop) {
    let next = next_tag(&shop.cluster);
    let mut load = Load::start(shop, UPGRADE).await;
    shop.upgrade(&next, &["--set=log.filter=info", "--set=gateway.replicas=2"]);
    assert!(load.is_running(), "the upgrade took longer than the load: make that longer");
    load.all_is_well().await;
    let images = shop.kubectl(&["get", "pods", "--output=jsonpath={.items[*].spec.containers[*].image}"]);
    assert!(images.split(' ').any(|image| image.ends_with(&next)), "{next} runs nowhere: {images}");
}

/// The image under another tag: on the project's own node it gets one, elsewhere it keeps its own.
fn next_tag(cluster: &Cluster) -> String {
    let Some(node) = &cluster.node else { return cluster.image.clone() };
    let next = format!("{}-next", cluster.image);
    let namespaces = std::fs::read_to_string(node.join("nspid")).unwrap();
    let mut tag = Command::new("nsenter");
    tag.args(["--target", namespaces.trim(), "--mount", "--net"]);
    tag.args([
        "ctr",
        "--address",
        "/run/containerd/containerd.sock",
        "--namespace",
        "k8s.io",
        "images",
        "tag",
        "--force",
    ]);
    tag.args([&cluster.image, &next].map(|image| format!("docker.io/library/{image}")));
    text(&tag.output().unwrap(), "ctr images tag");
    next
}
