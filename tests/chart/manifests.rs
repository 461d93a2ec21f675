//! `k8s/`: the rendered trial as plain manifests, and the overlays upon it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::chart::{files, mode, objects, values};
use crate::objects::{COMPONENT, label, name, of_kind, pods, shown, text};
use crate::programs::{assert_none, hold, is_update, named_by, output, read, root};
use crate::{edges, privacy, restricted, schemas};

/// The mode that the base is made of.
const MODE: &str = "trial";

fn folder() -> PathBuf {
    root().join("k8s")
}

/// The files of the base, each with its text: one for each part of the release, without what is Helm's alone.
fn base() -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let documents = mode(MODE).text.split("---\n").map(|document| {
        let lines = document
            .lines()
            .filter(|line| !line.starts_with("# Source: ") && line.trim() != "app.kubernetes.io/managed-by: Helm");
        lines.map(|line| format!("{line}\n")).collect::<String>()
    });
    for document in documents {
        let parsed = objects(&document);
        let [object] = &parsed[..] else { continue };
        // Tests are Helm's.
        if label(object, COMPONENT) != "test" {
            files.entry(format!("{}.yaml", label(object, COMPONENT))).or_default().push(document);
        }
    }
    files.into_iter().map(|(file, documents)| (file, documents.join("---\n"))).collect()
}

/// What an overlay or the base is, built.
#[track_caller]
fn built(folder: &Path) -> String {
    output(Command::new(named_by("MESHWORK_TEST_KUBECTL")).env("KUBECONFIG", "/dev/null").arg("kustomize").arg(folder))
}

#[test]
fn the_base_is_the_rendered_trial() {
    let base = base();
    assert!(base.len() >= 10, "the trial was split: {:?}", base.keys());
    let held = base.iter().map(|(file, text)| hold(&folder().join("base").join(file), text));
    assert_none(&held.filter_map(Result::err).collect::<Vec<_>>());
}

#[test]
fn the_base_lists_all_of_its_files_and_no_others() {
    let there = files(&folder().join("base"));
    let there = there.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    let mut there: Vec<_> = there.filter(|name| name != "kustomization.yaml").collect();
    let kustomization = objects(&read(&folder().join("base/kustomization.yaml"))).remove(0);
    let mut listed: Vec<_> = crate::objects::list(&kustomization["resources"]).map(text).map(str::to_owned).collect();
    listed.sort();
    if !is_update() {
        there.sort();
        assert_eq!(listed, there, "k8s/base/kustomization.yaml lists the files beside it");
    }
    let mut wanted: Vec<_> = base().into_keys().chain(["namespace.yaml".to_owned()]).collect();
    wanted.sort();
    assert_eq!(listed, wanted, "k8s/base/kustomization.yaml lists what the chart renders");
}

#[test]
fn the_base_and_all_overlays_build_and_are_valid() {
    let out = tempfile::tempdir().unwrap();
    let mut found = Vec::new();
    for (shown, text) in all() {
        let objects = objects(text);
        for pod in pods(&objects) {
            let of_pod = restricted::violations(pod.template).into_iter();
            found.extend(of_pod.map(|violation| format!("{shown}: {}: {violation}", pod.shown())));
        }
        found.extend(privacy::violations(&objects).into_iter().map(|violation| format!("{shown}: {violation}")));
        std::fs::write(out.path().join(format!("{shown}.yaml")), text).unwrap();
    }
    found.extend(schemas::violations(out.path()));
    assert_none(&found);
}

#[test]
fn the_policies_of_the_base_and_of_all_overlays_are_those_of_the_chart() {
    let trial = values(mode(MODE));
    // The overlay finds services by DNS, and lets nobody read metrics.
    let mut production = values(mode("production"));
    production["discovery"] = json!("dns");
    production["networkPolicy"]["metricsFrom"] = json!([]);
    let mut found = Vec::new();
    for (shown, text) in all() {
        let values = if shown == "production" { production.clone() } else { trial.clone() };
        let violations = edges::violations(&objects(text), values).into_iter();
        found.extend(violations.map(|violation| format!("{shown}: {violation}")));
    }
    assert_none(&found);
}

#[test]
fn in_production_no_store_of_the_trial_is_left_and_every_service_has_two_pods() {
    let (_, text) = all().iter().find(|(name, _)| name == "production").expect("there is an overlay for production");
    let objects = objects(text);
    let left: Vec<_> = of_kind(&objects, "StatefulSet").map(shown).collect();
    assert!(left.is_empty(), "{left:?}");
    let deployments: Vec<_> = of_kind(&objects, "Deployment").collect();
    assert_eq!(deployments.len(), 5);
    for deployment in deployments {
        assert_eq!(deployment["spec"]["replicas"], 2, "{}", shown(deployment));
        let budgets = of_kind(&objects, "PodDisruptionBudget").filter(|budget| name(budget) == name(deployment));
        assert_eq!(budgets.count(), 1, "{}", shown(deployment));
        // What the trial says of its own stores is gone.
        let text = deployment.to_string();
        for store in ["meshwork-postgresql.shop", "meshwork-mongodb.shop", "meshwork-redis.shop", "meshwork-nats.shop"]
        {
            assert!(!text.contains(store), "{} still names {store}", shown(deployment));
        }
        assert!(!text.contains("meshwork-passwords"), "{} still has passwords of the trial", shown(deployment));
    }
    // Passwords and tokens come from outside.
    let gateway = of_kind(&objects, "Deployment").find(|deployment| label(deployment, COMPONENT) == "gateway").unwrap();
    assert!(gateway.to_string().contains("MESHWORK_GATEWAY__SERVER__TLS__KEY"), "the gateway speaks plain text");
}

/// The base and all overlays, each with its name, built once.
fn all() -> &'static [(String, String)] {
    static ALL: LazyLock<Vec<(String, String)>> = LazyLock::new(build_all);
    &ALL
}

fn build_all() -> Vec<(String, String)> {
    let overlays = folder().join("overlays");
    let entries = std::fs::read_dir(&overlays);
    let entries = entries.unwrap_or_else(|error| panic!("cannot list {}: {error}", overlays.display()));
    let mut folders: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    assert!(folders.len() >= 2, "the overlays were found: {folders:?}");
    folders.push(folder().join("base"));
    let name = |folder: &Path| folder.file_name().unwrap().to_str().unwrap().to_owned();
    folders.iter().map(|folder| (name(folder), built(folder))).collect()
}

#[test]
fn every_object_is_in_the_namespace_of_the_base() {
    for (shown_as, text) in all() {
        for object in objects(text) {
            let namespace: &Value = &object["metadata"]["namespace"];
            let is_right = *namespace == "shop" || object["kind"] == "Namespace";
            assert!(is_right, "{shown_as}: {} is in {namespace}", shown(&object));
        }
    }
}
