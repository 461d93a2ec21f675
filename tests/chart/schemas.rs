//! Every rendered object is one that Kubernetes knows, with no field that it doesn't: in the oldest version that is
//! supported and in the newest. No object goes without a schema.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::chart::modes;
use crate::objects::{list, text};
use crate::programs::{assert_none, named_by, run};

/// Where the schemas are, and the folder of each version.
fn versions() -> (PathBuf, Vec<String>) {
    let folder = named_by("MESHWORK_TEST_SCHEMAS");
    let entries = std::fs::read_dir(&folder);
    let entries = entries.unwrap_or_else(|error| panic!("no schemas: {error}; run `cargo xtask setup`"));
    let names = entries.map(|entry| entry.unwrap()).filter(|entry| entry.path().is_dir());
    let mut names: Vec<_> = names.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "crds");
    names.sort();
    assert!(names.len() >= 2, "the oldest and the newest version are there: {names:?}; run `cargo xtask setup`");
    (folder, names)
}

/// What is wrong with the objects of a file or of the files of a folder, in any version.
pub fn violations(manifests: &Path) -> Vec<String> {
    let (folder, versions) = versions();
    versions.iter().flat_map(|version| in_version(manifests, &folder, version)).collect()
}

fn in_version(manifests: &Path, schemas: &Path, version: &str) -> Vec<String> {
    let mut kubeconform = Command::new(named_by("MESHWORK_TEST_KUBECONFORM"));
    kubeconform.args(["-strict", "-summary", "-verbose", "-output", "json"]);
    for folder in [version, "crds"] {
        kubeconform.arg("-schema-location");
        kubeconform.arg(schemas.join(folder).join("{{.ResourceKind}}{{.KindSuffix}}.json"));
    }
    let said = run(kubeconform.arg(manifests));
    let judged: Value = serde_json::from_str(&said.stdout)
        .unwrap_or_else(|error| panic!("kubeconform said no JSON: {error}: {}{}", said.stdout, said.stderr));
    let broken = list(&judged["resources"]).filter(|object| object["status"] != "statusValid");
    let mut found: Vec<_> = broken
        .map(|object| {
            let what = |key: &str| text(&object[key]);
            let file = Path::new(what("filename")).file_name().unwrap_or_default().to_string_lossy().into_owned();
            format!("Kubernetes {version}: {file}: {} {}: {}", what("kind"), what("name"), what("msg").trim())
        })
        .collect();
    if judged["summary"]["valid"].as_u64().unwrap_or_default() == 0 && found.is_empty() {
        found.push(format!("Kubernetes {version}: kubeconform found nothing in {}", manifests.display()));
    }
    found
}

#[test]
fn every_mode_is_valid_in_the_oldest_and_the_newest_kubernetes() {
    let folder = tempfile::tempdir().unwrap();
    for mode in modes() {
        std::fs::write(folder.path().join(format!("{}.yaml", mode.name)), &mode.text).unwrap();
    }
    assert_none(&violations(folder.path()));
}

#[test]
fn planted_mistakes_are_refused_in_every_version() {
    let folder = tempfile::tempdir().unwrap();
    let planted = [
        ("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {prots: []}", "'prots' not allowed"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: http}]}", "want integer"),
        ("apiVersion: v1\nkind: Servise\nmetadata: {name: a}", "could not find schema for Servise"),
        ("apiVersion: v2\nkind: Service\nmetadata: {name: a}", "could not find schema for Service"),
        (
            "apiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {name: a}\nspec: {selfSinged: {}}",
            "'selfSinged' not allowed",
        ),
        (
            "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {name: a}\n\
             spec: {rules: [{matches: [{path: {value: /}}]}]}",
            "'path' not allowed",
        ),
        (
            "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: a}\n\
             spec: {resources: {requests: {storage: 2 Gi}}}",
            "does not match pattern",
        ),
    ];
    for (number, (text, _)) in planted.iter().enumerate() {
        std::fs::write(folder.path().join(format!("{number}.yaml")), text).unwrap();
    }
    let found = violations(folder.path());
    for version in versions().1 {
        for (number, (text, message)) in planted.iter().enumerate() {
            let begin = format!("Kubernetes {version}: {number}.yaml: ");
            let is_found = found.iter().any(|found| found.starts_with(&begin) && found.contains(message));
            assert!(is_found, "{version}: {text}: {found:?}");
        }
    }
}
