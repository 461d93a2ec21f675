//! The chart, rendered: once for each supported mode, which is a file of values in its folder `ci`.

use std::path::PathBuf;
use std::sync::LazyLock;

use serde_json::Value;

use crate::programs::{self, Said, helm, root, run};

/// The release that is rendered, which gives objects the same names as the chart's own.
pub const RELEASE: &str = "meshwork";

/// The namespace that it is rendered for.
pub const NAMESPACE: &str = "shop";

/// The oldest Kubernetes that is supported. Without a cluster Helm would make up a version.
const KUBERNETES: &str = "1.33.0";

/// One mode of the chart.
#[derive(Debug)]
pub struct Mode {
    /// Its name: `trial` of `ci/trial-values.yaml`.
    pub name: String,
    /// Its file of values.
    pub values: PathBuf,
    /// All its values: its file laid upon the chart's own.
    pub merged: Value,
    /// What is rendered, as Helm writes it.
    pub text: String,
    /// The objects of it.
    pub objects: Vec<Value>,
}

/// The folder of the chart.
pub fn folder() -> PathBuf {
    root().join("helm/meshwork")
}

/// All modes, rendered once.
pub fn modes() -> &'static [Mode] {
    static MODES: LazyLock<Vec<Mode>> = LazyLock::new(|| {
        let ci = folder().join("ci");
        let entries = std::fs::read_dir(&ci).unwrap_or_else(|error| panic!("cannot list {}: {error}", ci.display()));
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let name_of = |path: &PathBuf| {
            let file = path.file_name().unwrap().to_str().unwrap();
            let name = file.strip_suffix("-values.yaml");
            name.unwrap_or_else(|| panic!("{} isn't named MODE-values.yaml", path.display())).to_owned()
        };
        let own = own_values();
        let renderings = files.iter().map(|values| {
            let text = rendered(&["-f", values.to_str().unwrap()]);
            let mut merged = own.clone();
            lay(&mut merged, yaml(&programs::read(values)).into_iter().next().unwrap_or_default());
            Mode { name: name_of(values), values: values.clone(), merged, objects: objects(&text), text }
        });
        renderings.collect()
    });
    assert!(MODES.len() >= 5, "the modes were found: {:?}", MODES.iter().map(|mode| &mode.name).collect::<Vec<_>>());
    &MODES
}

/// The mode `name`.
///
/// # Panics
/// When there is none.
#[track_caller]
pub fn mode(name: &str) -> &'static Mode {
    modes().iter().find(|mode| mode.name == name).unwrap_or_else(|| panic!("the chart has no ci/{name}-values.yaml"))
}

/// The values of a mode.
pub fn values(mode: &Mode) -> Value {
    mode.merged.clone()
}

/// The chart's own values.
#[track_caller]
pub fn own_values() -> Value {
    yaml(&programs::read(&folder().join("values.yaml"))).remove(0)
}

/// Lays values upon others as Helm does: maps key by key, all else as a whole.
pub fn lay(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                lay(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (under, over) => *under = over,
    }
}

/// The settings of a service: those of its own section laid upon those that all services have.
pub fn settings(values: &Value, service: &str) -> Value {
    let mut settings = values["defaults"].clone();
    lay(&mut settings, values[service].clone());
    settings
}

/// The chart with the values of a mode and some more, as `key=value` of `--set`.
#[track_caller]
pub fn with(name: &str, set: &[String]) -> Vec<Value> {
    let values = mode(name).values.to_str().unwrap();
    let mut args = vec!["-f", values];
    args.extend(set.iter().flat_map(|set| ["--set", set]));
    objects(&rendered(&args))
}

/// What `helm template` writes.
#[track_caller]
fn rendered(args: &[&str]) -> String {
    let said = template(args);
    assert!(said.is_ok, "`helm template` with {args:?} failed: {}", said.stderr);
    said.stdout
}

/// What `helm template` says.
pub fn template(args: &[&str]) -> Said {
    let command = ["template", RELEASE, "helm/meshwork", "--namespace", NAMESPACE, "--kube-version", KUBERNETES];
    run(helm().args(command).args(args))
}

/// What `helm lint` says of the chart with a file of values.
pub fn lint(values: &str) -> Said {
    run(helm().args([
        "lint",
        "--strict",
        "helm/meshwork",
        "--namespace",
        NAMESPACE,
        "--kube-version",
        KUBERNETES,
        "-f",
        values,
    ]))
}

/// The objects of a text of YAML documents.
///
/// # Panics
/// When it isn't YAML.
#[track_caller]
pub fn objects(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = yaml(text);
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

#[track_caller]
fn yaml(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("what was rendered isn't YAML: {error}"))
}

/// The files of a folder, by name.
#[track_caller]
pub fn files(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder);
    let entries = entries.unwrap_or_else(|error| panic!("cannot list {}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

#[test]
fn every_mode_renders_objects_for_all_services() {
    let mut violations = Vec::new();
    for mode in modes() {
        for service in crate::objects::SERVICES {
            let is_there = mode.objects.iter().any(|object| {
                object["kind"] == "Deployment" && object["metadata"]["labels"]["app.kubernetes.io/component"] == service
            });
            if !is_there {
                violations.push(format!("{}: has no Deployment of {service}", mode.name));
            }
        }
    }
    programs::assert_none(&violations);
}

#[test]
fn helm_finds_nothing_to_say_against_any_mode() {
    let mut violations = Vec::new();
    for mode in modes() {
        let said = lint(mode.values.to_str().unwrap());
        if !said.is_ok || said.stdout.contains("[WARNING]") {
            violations.push(format!("{}: {}{}", mode.name, said.stdout, said.stderr));
        }
    }
    programs::assert_none(&violations);
}
