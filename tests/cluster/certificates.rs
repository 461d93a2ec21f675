//! What the chart makes once: an upgrade keeps it, but for certificates that are about to end, and running pods take new ones.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::cluster::eventually;
use crate::pods;
use crate::shop::{NAMESPACE, RELEASE, Shop};

/// Whose certificate is about to end.
const OWNER: &str = "orders";
/// A day, in seconds.
const DAY: u64 = 24 * 60 * 60;

/// The data of all Secrets of the chart, by name.
fn held(shop: &Shop) -> BTreeMap<String, Value> {
    let secrets = shop.cluster.items(&["get", "secrets", "--namespace", NAMESPACE]).into_iter();
    let named = secrets.map(|secret| (secret["metadata"]["name"].as_str().unwrap().to_owned(), secret["data"].clone()));
    // Those of Helm itself have other names.
    named.filter(|(name, _)| name.starts_with(RELEASE)).collect()
}

/// What a server says of itself to a peer that it knows.
fn said_by(shop: &Shop, address: &str) -> String {
    let [certificate, key] = ["tls.crt", "tls.key"].map(|key| shop.secret_file("tls-gateway", key));
    let mut client = Command::new("timeout");
    client.args(["10", "openssl", "s_client", "-alpn", "h2", "-connect"]).arg(address);
    client.arg("-cert").arg(certificate).arg("-key").arg(key).stdin(Stdio::null());
    // It may end with an error, because nothing follows the handshake.
    String::from_utf8_lossy(&client.output().unwrap().stdout).into_owned()
}

/// A certificate that is in the last third of its time is renewed by an upgrade, and nothing else is; its service shows it without
/// being started anew.
pub async fn renew(shop: &Shop) {
    let secret = format!("{RELEASE}-tls-{OWNER}");
    let before = held(shop);
    assert!(before.contains_key(&secret) && before.len() >= 10, "{:?}", before.keys());
    let pod = pods::one(shop, OWNER);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (issued, expires) = (now - 300 * DAY, now + 65 * DAY);
    let [issued, expires] =
        [("issued", issued), ("expires", expires)].map(|(key, time)| format!("meshwork.local/{key}={time}"));
    shop.kubectl(&["annotate", "--overwrite", "secret", &secret, &issued, &expires]);
    shop.upgrade(&shop.cluster.image, &[]);
    let after = held(shop);
    assert!(before.keys().eq(after.keys()), "{:?}, and before {:?}", after.keys(), before.keys());
    for (name, data) in &before {
        assert_eq!(
            after[name] != *data,
            *name == secret,
            "{name} was {}",
            if after[name] == *data { "kept" } else { "made anew" }
        );
    }
    let running = pods::one(shop, OWNER);
    assert_eq!((running.name.as_str(), running.restarts()), (pod.name.as_str(), pod.restarts()), "it runs on");
    if shop.cluster.node.is_none() {
        println!("whether pods take it isn't looked at: they can't be reached from here");
        return;
    }
    // A pod that changes is looked after at once; by itself the kubelet does so every minute or two.
    shop.kubectl(&["annotate", "--overwrite", "pod", &pod.name, "meshwork.local/looked-at=1"]);
    let renewed = String::from_utf8(shop.secret(&format!("tls-{OWNER}"), "tls.crt")).unwrap();
    let address = format!("{}:8080", running.json["status"]["podIP"].as_str().unwrap());
    let is_shown = async || said_by(shop, &address).contains(renewed.trim());
    let took = eventually("that orders shows its new certificate", is_shown).await;
    println!("the new certificate is shown after {:.1} s", took.as_secs_f64());
    shop.test().await;
}
