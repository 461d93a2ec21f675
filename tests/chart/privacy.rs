//! Secrets stay secret: they are referred to, never written out, and nobody has the key of the authority.

use serde_json::{Value, json};

use crate::chart::modes;
use crate::objects::{Pod, list, map, name, of_kind, pods, shown, text};
use crate::programs::assert_none;

/// Words in the name of a variable whose value is secret.
const SECRET: [&str; 5] = ["PASSWORD", "SECRET", "TOKEN", "PRIVATE", "PASSPHRASE"];

/// What of a pod lies open that should not.
fn in_pod(pod: &Pod<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for (variable, entry) in pod.variables() {
        if entry["valueFrom"].is_null() {
            let value = text(&entry["value"]);
            if SECRET.iter().any(|word| variable.contains(word)) || has_password(value) {
                found.push(format!("{}: {variable} has its value in the manifest", pod.shown()));
            }
        } else if !entry["valueFrom"]["configMapKeyRef"].is_null() && SECRET.iter().any(|word| variable.contains(word))
        {
            found.push(format!("{}: {variable} comes from a ConfigMap", pod.shown()));
        }
    }
    let words = pod.containers().flat_map(|container| ["command", "args"].map(|key| &container[key]));
    for word in words.flat_map(list).map(text) {
        if has_password(word) {
            found.push(format!("{}: has a password among its arguments", pod.shown()));
        }
    }
    for (secret, _) in pod.secrets() {
        if secret.ends_with("-ca") {
            found.push(format!("{}: has the key of the authority, by the Secret {secret}", pod.shown()));
        }
    }
    found
}

/// Whether a text has a URL with a password that isn't a reference to a variable, as `$(VARIABLE)`.
fn has_password(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else { return false };
    let Some((login, _)) = rest.split('/').next().unwrap_or_default().rsplit_once('@') else { return false };
    let Some((_, password)) = login.split_once(':') else { return false };
    !(password.starts_with("$(") && password.ends_with(')'))
}

/// What lies open that should not.
pub fn violations(objects: &[Value]) -> Vec<String> {
    let mut found: Vec<_> = pods(objects).iter().flat_map(in_pod).collect();
    // The supported modes name their Secrets: what is made anew at each rendering can't be reviewed.
    found.extend(of_kind(objects, "Secret").map(|secret| format!("{}: is written out", shown(secret))));
    for config in of_kind(objects, "ConfigMap") {
        for (key, value) in map(&config["data"]) {
            if value.contains("PRIVATE KEY") || has_password(&value) || SECRET.iter().any(|word| key.contains(word)) {
                found.push(format!("{}: {key} is secret", shown(config)));
            }
        }
    }
    found
}

#[test]
fn secrets_are_referred_to_and_the_authoritys_key_is_mounted_nowhere() {
    let mut found = Vec::new();
    for mode in modes() {
        found.extend(violations(&mode.objects).into_iter().map(|violation| format!("{}: {violation}", mode.name)));
        if mode.text.contains("PRIVATE KEY") {
            found.push(format!("{}: has a private key in its text", mode.name));
        }
    }
    assert_none(&found);
}

#[test]
fn every_service_has_credentials_of_its_own_and_only_users_has_the_signing_keys() {
    let mut found = Vec::new();
    for mode in modes() {
        for pod in pods(&mode.objects) {
            for (secret, keys) in pod.secrets() {
                let wanted: &[&str] = match pod.component() {
                    "users" => &["notifications.json", "orders.json", "products.json", "staff.json"],
                    "products" => &["products.json"],
                    "orders" => &["orders.json"],
                    "notifications" => &["notifications.json"],
                    "test" => &["staff.json"],
                    _ => &[],
                };
                if secret.ends_with("-credentials") && !keys.iter().eq(wanted) {
                    found.push(format!("{}: {} has the credentials {keys:?}", mode.name, pod.shown()));
                }
                if secret.ends_with("-signing-keys") && pod.component() != "users" {
                    found.push(format!("{}: {} has the signing keys", mode.name, pod.shown()));
                }
                let of_others = secret.split_once("-tls-").is_some_and(|(_, other)| other != pod.component());
                if of_others && !keys.iter().eq(&["ca.crt"]) {
                    found.push(format!("{}: {} has the key of another, {secret}", mode.name, pod.shown()));
                }
            }
        }
    }
    assert_none(&found);
}

#[test]
fn planted_secrets_are_found() {
    let pod = |spec: Value| json!({ "kind": "Pod", "metadata": { "name": "a" }, "spec": spec });
    let variable =
        |name: &str, value: &str| pod(json!({ "containers": [{ "env": [{ "name": name, "value": value }] }] }));
    for planted in [
        variable("REDIS_PASSWORD", "x"),
        variable("URL", "redis://:secret@host:6379/0"),
        variable("URL", "postgres://me:secret@host/db"),
        pod(json!({ "containers": [{ "args": ["--routes=nats://me:secret@host"] }] })),
        pod(json!({ "containers": [{ "env": [
            { "name": "A_TOKEN", "valueFrom": { "configMapKeyRef": { "name": "c", "key": "k" } } },
        ] }] })),
        pod(json!({ "volumes": [{ "name": "a", "secret": { "secretName": "meshwork-ca" } }] })),
        pod(
            json!({ "volumes": [{ "name": "a", "projected": { "sources": [{ "secret": { "name": "meshwork-ca" } }] } }] }),
        ),
        pod(json!({ "containers": [{ "envFrom": [{ "secretRef": { "name": "meshwork-ca" } }] }] })),
        json!({ "kind": "Secret", "metadata": { "name": "s" }, "data": { "a": "eA==" } }),
        json!({ "kind": "ConfigMap", "metadata": { "name": "c" }, "data": { "key.pem": "-----BEGIN PRIVATE KEY-----" } }),
    ] {
        assert_eq!(violations(std::slice::from_ref(&planted)).len(), 1, "{planted}");
    }
    let allowed = variable("URL", "postgres://me:$(PASSWORD)@host/db");
    assert_eq!(violations(&[allowed]), Vec::<String>::new());
    assert_eq!(name(&pod(json!({}))), "a");
}
