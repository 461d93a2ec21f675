//! `k8s/secrets.sh`: the Secrets that it prints are those that the manifests refer to, and its certificates hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::chart::{NAMESPACE, RELEASE, mode, objects};
use crate::objects::{SERVICES, map, name, pods, text};
use crate::programs::{assert_none, output, root};

/// What the script prints with these arguments.
#[track_caller]
fn printed(args: &[&str]) -> Vec<Value> {
    objects(&output(Command::new("sh").arg(root().join("k8s/secrets.sh")).args(args)))
}

/// The data of a Secret, decoded.
fn data(secret: &Value) -> BTreeMap<String, Vec<u8>> {
    map(&secret["data"]).into_iter().map(|(key, value)| (key, STANDARD.decode(value).unwrap())).collect()
}

fn find<'a>(secrets: &'a [Value], wanted: &str) -> &'a Value {
    secrets.iter().find(|secret| name(secret) == wanted).unwrap_or_else(|| panic!("there is no Secret {wanted}"))
}

/// What `openssl` says, told in the folder of the files that it reads.
#[track_caller]
fn openssl(folder: &Path, args: &[&str]) -> String {
    output(Command::new("openssl").current_dir(folder).args(args))
}

#[test]
fn it_prints_the_secrets_and_keys_that_the_manifests_refer_to() {
    let secrets = printed(&[]);
    let mut violations = Vec::new();
    let mut referred: BTreeSet<String> = BTreeSet::new();
    for pod in pods(&mode("trial").objects) {
        for (wanted, keys) in pod.secrets() {
            referred.insert(wanted.to_owned());
            let Some(secret) = secrets.iter().find(|secret| name(secret) == wanted) else {
                violations.push(format!("{} refers to {wanted}, which isn't printed", pod.shown()));
                continue;
            };
            let there = map(&secret["data"]);
            let missing = keys.into_iter().filter(|key| !there.contains_key(*key));
            violations.extend(missing.map(|key| format!("{} refers to {key} of {wanted}", pod.shown())));
        }
    }
    // Whoever renews certificates needs the authority; no pod does.
    referred.insert(format!("{RELEASE}-ca"));
    let printed: BTreeSet<_> = secrets.iter().map(|secret| name(secret).to_owned()).collect();
    violations.extend(printed.difference(&referred).map(|secret| format!("{secret} is printed, and nobody needs it")));
    for secret in &secrets {
        if secret["kind"] != "Secret" || secret["apiVersion"] != "v1" || secret["metadata"]["namespace"] != NAMESPACE {
            violations.push(format!("{} isn't a Secret in {NAMESPACE}", name(secret)));
        }
        for (key, value) in data(secret) {
            if value.is_empty() {
                violations.push(format!("{key} of {} is empty", name(secret)));
            }
        }
        let wanted: &[&str] = match name(secret) {
            name if name.contains("-tls-") => &["ca.crt", "tls.crt", "tls.key"],
            name if name.ends_with("-ca") => &["tls.crt", "tls.key"],
            _ => continue,
        };
        if !map(&secret["data"]).keys().eq(wanted) || secret["type"] != "kubernetes.io/tls" {
            violations.push(format!("{} has not the keys {wanted:?}, or another type", name(secret)));
        }
    }
    assert_none(&violations);
}

#[test]
fn certificates_are_of_the_authority_for_the_names_that_are_dialled_and_keys_are_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = printed(&[]);
    for owner in SERVICES.into_iter().chain(["nats"]) {
        let found = data(find(&secrets, &format!("{RELEASE}-tls-{owner}")));
        for (key, value) in &found {
            std::fs::write(folder.path().join(key), value).unwrap();
        }
        let authority = &data(find(&secrets, &format!("{RELEASE}-ca")))["tls.crt"];
        assert_eq!(&found["ca.crt"], authority, "{owner}: its ca.crt is the authority");
        openssl(folder.path(), &["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "ca.crt", "tls.crt"]);
        openssl(folder.path(), &["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", "ca.crt", "tls.crt"]);
        let public = openssl(folder.path(), &["pkey", "-in", "tls.key", "-pubout"]);
        assert_eq!(
            openssl(folder.path(), &["x509", "-in", "tls.crt", "-noout", "-pubkey"]),
            public,
            "{owner}: its key"
        );
        let told = openssl(folder.path(), &["x509", "-in", "tls.crt", "-noout", "-ext", "subjectAltName"]);
        let told: BTreeSet<_> = told.split([',', '\n']).filter_map(|part| part.trim().strip_prefix("DNS:")).collect();
        let wanted = names(owner, NAMESPACE);
        assert_eq!(told, wanted.iter().map(String::as_str).collect(), "{owner}: its names");
    }
}

/// The names of a certificate, in full and as short as Kubernetes resolves them.
fn names(owner: &str, namespace: &str) -> BTreeSet<String> {
    let own = format!("{RELEASE}-{owner}");
    let hosts = if owner == "nats" { vec![own] } else { vec![own.clone(), format!("{own}-headless")] };
    let of_host = |host: &String| {
        ["", ".NS", ".NS.svc", ".NS.svc.cluster.local"].map(|end| format!("{host}{}", end.replace("NS", namespace)))
    };
    hosts.iter().flat_map(of_host).collect()
}

#[test]
fn credentials_passwords_and_keys_are_what_the_services_read() {
    let folder = tempfile::tempdir().unwrap();
    let (secrets, others) = (printed(&[]), printed(&[]));
    let credentials = data(find(&secrets, "meshwork-credentials"));
    for (label, email) in [
        ("staff", "staff@meshwork.local"),
        ("products", "products@services.meshwork.local"),
        ("orders", "orders@services.meshwork.local"),
        ("notifications", "notifications@services.meshwork.local"),
    ] {
        let account: Value = serde_json::from_slice(&credentials[&format!("{label}.json")]).unwrap();
        assert_eq!(account["email"], email);
        assert!(text(&account["password"]).len() >= 32, "{label}");
    }
    let passwords = data(find(&secrets, "meshwork-passwords"));
    for (store, password) in &passwords {
        // In URLs and in arguments, where other characters would have to be escaped.
        assert!(password.len() >= 32 && password.iter().all(u8::is_ascii_alphanumeric), "{store}");
    }
    let different: BTreeSet<_> = passwords.values().collect();
    assert_eq!(different.len(), 3, "each store has a password of its own");
    assert!(passwords.iter().all(|(store, password)| data(find(&others, "meshwork-passwords"))[store] != *password));
    let key = &data(find(&secrets, "meshwork-signing-keys"))["signing-key.pem"];
    assert!(key.starts_with(b"-----BEGIN PRIVATE KEY-----"), "PKCS#8");
    std::fs::write(folder.path().join("key"), key).unwrap();
    assert!(openssl(folder.path(), &["pkey", "-in", "key", "-noout", "-text"]).starts_with("ED25519"));
}

#[test]
fn arguments_name_another_namespace_release_and_domain() {
    let secrets = printed(&["staging", "shop", "example.org"]);
    assert!(
        secrets.iter().all(|secret| secret["metadata"]["namespace"] == "staging" && name(secret).starts_with("shop-"))
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("crt"), &data(find(&secrets, "shop-tls-users"))["tls.crt"]).unwrap();
    let told = openssl(folder.path(), &["x509", "-in", "crt", "-noout", "-ext", "subjectAltName"]);
    assert!(told.contains("DNS:shop-users-headless.staging.svc.example.org"), "{told}");
}
