//! Rendered objects, and the pods that they make.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The services.
pub const SERVICES: [&str; 5] = ["gateway", "users", "products", "orders", "notifications"];

/// The label that says which part of the release an object belongs to.
pub const COMPONENT: &str = "app.kubernetes.io/component";

/// A pod that an object describes: all pods of one Deployment are alike.
#[derive(Debug, Clone, Copy)]
pub struct Pod<'a> {
    /// The Deployment, StatefulSet, Job or Pod.
    pub owner: &'a Value,
    /// Its template, with `metadata` and `spec`.
    pub template: &'a Value,
}

impl<'a> Pod<'a> {
    /// `Deployment meshwork-orders`.
    pub fn shown(&self) -> String {
        shown(self.owner)
    }

    /// The part of the release that it is of.
    pub fn component(&self) -> &'a str {
        label(self.template, COMPONENT)
    }

    /// What it is made of.
    pub fn spec(&self) -> &'a Value {
        &self.template["spec"]
    }

    /// Its containers, those that run first among them.
    pub fn containers(&self) -> impl Iterator<Item = &'a Value> {
        let spec = self.spec();
        ["initContainers", "containers"].into_iter().flat_map(|key| list(&spec[key]))
    }

    /// Its labels.
    pub fn labels(&self) -> BTreeMap<String, String> {
        labels(self.template)
    }

    /// The ports that its containers tell of, each as (name, number, protocol).
    pub fn ports(&self) -> Vec<(String, u16, String)> {
        let ports = self.containers().flat_map(|container| list(&container["ports"]));
        let port = |port: &Value| {
            let number = u16::try_from(port["containerPort"].as_u64().unwrap()).unwrap();
            (text(&port["name"]).to_owned(), number, port["protocol"].as_str().unwrap_or("TCP").to_owned())
        };
        ports.map(port).collect()
    }

    /// The variables of its containers, each as (name, whole entry).
    pub fn variables(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.containers().flat_map(|container| list(&container["env"])).map(|entry| (text(&entry["name"]), entry))
    }

    /// The value of a variable that is no reference.
    pub fn literal(&self, name: &str) -> Option<&'a str> {
        self.variables().find(|(found, _)| *found == name)?.1["value"].as_str()
    }

    /// The Secrets that it uses, each with the keys that it names; without a key it uses all.
    pub fn secrets(&self) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
        let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for volume in list(&self.spec()["volumes"]) {
            let projected = list(&volume["projected"]["sources"]).map(|source| &source["secret"]);
            let names = projected.map(|secret| (text(&secret["name"]), secret));
            let own = (text(&volume["secret"]["secretName"]), &volume["secret"]);
            for (name, secret) in names.chain([own]).filter(|(name, _)| !name.is_empty()) {
                found.entry(name).or_default().extend(list(&secret["items"]).map(|item| text(&item["key"])));
            }
        }
        for (_, entry) in self.variables() {
            let reference = &entry["valueFrom"]["secretKeyRef"];
            if let Some(name) = reference["name"].as_str() {
                found.entry(name).or_default().insert(text(&reference["key"]));
            }
        }
        for source in self.containers().flat_map(|container| list(&container["envFrom"])) {
            if let Some(name) = source["secretRef"]["name"].as_str() {
                found.entry(name).or_default();
            }
        }
        found
    }
}

/// The pods that the objects make.
pub fn pods<'a>(objects: &'a [Value]) -> Vec<Pod<'a>> {
    let pod = |owner: &'a Value| match text(&owner["kind"]) {
        "Pod" => Some(Pod { owner, template: owner }),
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => {
            Some(Pod { owner, template: &owner["spec"]["template"] })
        }
        "CronJob" => Some(Pod { owner, template: &owner["spec"]["jobTemplate"]["spec"]["template"] }),
        _ => None,
    };
    objects.iter().filter_map(pod).collect()
}

/// The objects of a kind.
pub fn of_kind<'a>(objects: &'a [Value], kind: &str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

/// `Deployment meshwork-orders`.
pub fn shown(object: &Value) -> String {
    format!("{} {}", text(&object["kind"]), name(object))
}

/// The name of an object.
pub fn name(object: &Value) -> &str {
    text(&object["metadata"]["name"])
}

/// A label of an object, or nothing.
pub fn label<'a>(object: &'a Value, label: &str) -> &'a str {
    text(&object["metadata"]["labels"][label])
}

/// The labels of an object.
pub fn labels(object: &Value) -> BTreeMap<String, String> {
    map(&object["metadata"]["labels"])
}

/// A map of texts, or an empty one.
pub fn map(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().into_iter().flatten();
    entries.map(|(key, value)| (key.clone(), text(value).to_owned())).collect()
}

/// A text, or an empty one.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A list, or an empty one.
pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
