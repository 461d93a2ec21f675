//! What stays after an uninstall is what the notes name, and the commands that they print remove it.

use std::time::Duration;

use crate::cluster::{Cluster, eventually, text};
use crate::notes;
use crate::shop::{NAMESPACE, Shop};

/// What is looked for in the namespace.
const KINDS: &str = "all,secrets,configmaps,serviceaccounts,persistentvolumeclaims,networkpolicies,poddisruptionbudgets,\
                     horizontalpodautoscalers,roles,rolebindings,ingresses";
/// What Kubernetes has in each namespace.
const BUILT_IN: [&str; 2] = ["configmap/kube-root-ca.crt", "serviceaccount/default"];
/// How long pods may take to end: as long as they have for it.
const ENDED: Duration = Duration::from_secs(60);

/// Removes the release, checks what stays, and removes that too.
pub async fn uninstall(shop: Shop) {
    let notes = notes::of(&shop);
    let cluster = shop.cluster.clone();
    let commands = notes::to_remove(&notes);
    let run = |command: &String| text(&cluster.shell(command).output().unwrap(), command);
    assert!(commands[0].starts_with("helm uninstall "), "{commands:?}");
    run(&commands[0]);
    let gone = async || !left(&cluster).iter().any(|object| object.starts_with("pod/") && !object.ends_with("-test"));
    let took = eventually("the end of all pods", gone).await;
    assert!(took < ENDED, "pods ended after {took:?}");
    println!("left: {}", left(&cluster).join(", "));
    for object in left(&cluster) {
        let (kind, name) = object.split_once('/').unwrap();
        // Volumes are named by their labels.
        let is_named = if kind == "persistentvolumeclaim" { notes.contains(kind) } else { notes.contains(name) };
        assert!(is_named, "{object} stays, and the notes don't name it:\n{notes}");
    }
    for command in &commands[1..] {
        run(command);
    }
    assert_eq!(left(&cluster), Vec::<String>::new());
    cluster.kubectl(&["delete", "namespace", NAMESPACE, "--timeout=60s"]);
}

/// The objects of the namespace.
fn left(cluster: &Cluster) -> Vec<String> {
    let objects = cluster.kubectl(&["get", KINDS, "--namespace", NAMESPACE, "--output=name", "--ignore-not-found"]);
    objects.lines().filter(|object| !BUILT_IN.contains(object)).map(str::to_owned).collect()
}
