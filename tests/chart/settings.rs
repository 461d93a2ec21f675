//! Every setting that a rendered pod is given is one that the binary knows, with a value that it takes.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::chart::modes;
use crate::objects::{Pod, SERVICES, list, pods, text};
use crate::programs::{assert_none, named_by, run};

/// Variables that the mesh itself reads, so that they are no settings of the shop.
const OF_MESH: [&str; 1] = ["MESHWORK_ZONE"];

/// The parts of the release besides the services that run the binary.
const OTHERS: [&str; 2] = ["migrate", "test"];

/// What a reference is given in place of the Secret: of the form that the setting wants.
fn stand_in(variable: &str) -> &'static str {
    match variable {
        variable if variable.ends_with("POSTGRES__URL") => "postgres://meshwork:password@postgres.example:5432/shop",
        variable if variable.ends_with("MONGO__URI") => "mongodb://mongo.example:27017",
        variable if variable.ends_with("REDIS_URL") => "redis://:password@redis.example:6379",
        variable if variable.ends_with("SMTP__URL") => "smtps://meshwork:password@smtp.example:465",
        _ => "password",
    }
}

/// A container's variables, as Kubernetes would set them: those above may be referred to as `$(NAME)`.
fn environment(container: &Value) -> Vec<(String, String)> {
    let mut set: Vec<(String, String)> = Vec::new();
    for entry in list(&container["env"]) {
        let name = text(&entry["name"]);
        let value = if entry["valueFrom"].is_null() { text(&entry["value"]) } else { stand_in(name) };
        let value =
            set.iter().fold(value.to_owned(), |value, (name, before)| value.replace(&format!("$({name})"), before));
        set.push((name.to_owned(), value));
    }
    set
}

/// Puts the files and folders that settings name below `root`, as the container's mounts would have them at `/`.
///
/// # Errors
/// When a setting names a path that is on no volume.
fn laid(set: &[(String, String)], container: &Value, root: &Path) -> Result<Vec<(String, String)>, String> {
    let mounts: Vec<_> = list(&container["volumeMounts"]).map(|mount| text(&mount["mountPath"])).collect();
    let moved = set.iter().map(|(name, value)| {
        if !value.starts_with('/') {
            return Ok((name.clone(), value.clone()));
        }
        if !mounts.iter().any(|mount| Path::new(value).starts_with(mount)) {
            return Err(format!("{name} is {value}, which is on no volume"));
        }
        let path = root.join(value.trim_start_matches('/'));
        let folder = if path.extension().is_some() { path.parent().unwrap_or(root) } else { &path };
        std::fs::create_dir_all(folder).unwrap();
        if path.extension().is_some() {
            std::fs::write(&path, "a stand-in").unwrap();
        }
        Ok((name.clone(), path.display().to_string()))
    });
    moved.collect()
}

/// The keys that `meshwork config` prints as coming from the environment.
fn from_environment(toml: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut section = String::new();
    for line in toml.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = format!("{}.", name.trim_matches(['[', ']']));
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| line.ends_with("# environment")) {
            found.insert(format!("{section}{key}"));
        }
    }
    found
}

/// The keys that a variable may stand for: `MESHWORK_NATS_URL` is `nats.url`, `MESHWORK_OPS` is `ops`.
fn keys(variable: &str) -> Option<[String; 2]> {
    let key =
        variable.strip_prefix("MESHWORK_").filter(|_| !OF_MESH.contains(&variable))?.to_lowercase().replace("__", ".");
    Some([key.clone(), key.replacen('_', ".", 1)])
}

#[test]
fn the_binary_knows_every_setting_and_takes_its_value() {
    let binary = named_by("MESHWORK_TEST_BIN");
    let folder = tempfile::tempdir().unwrap();
    let mut violations = Vec::new();
    // Modes differ in few of them.
    let (mut seen, mut unknown) = (BTreeSet::new(), BTreeSet::new());
    for mode in modes() {
        for pod in pods(&mode.objects) {
            for container in pod.containers() {
                let set = environment(container);
                let is_ours = ["serve", "migrate"].contains(&text(&container["args"][0]));
                if !is_ours || !seen.insert(set.clone()) {
                    continue;
                }
                let shown = format!("{}: {}", mode.name, pod.shown());
                let laid = match laid(&set, container, folder.path()) {
                    Ok(laid) => laid,
                    Err(violation) => {
                        violations.push(format!("{shown}: {violation}"));
                        continue;
                    }
                };
                let mut command = Command::new(&binary);
                let said = run(command.arg("config").env_clear().envs(laid).current_dir(folder.path()));
                if !said.is_ok {
                    violations.push(format!("{shown}: `meshwork config` refuses its settings: {}", said.stderr.trim()));
                    continue;
                }
                let known = from_environment(&said.stdout);
                for (variable, _) in &set {
                    let Some(keys) = keys(variable) else { continue };
                    // Once for all pods that have it.
                    if !keys.iter().any(|key| known.contains(key)) && unknown.insert(variable.clone()) {
                        violations.push(format!("{shown}: {variable} is no setting that `meshwork config` prints"));
                    }
                }
            }
        }
    }
    assert!(seen.len() >= 6, "the settings of {} containers were looked at", seen.len());
    assert_none(&violations);
}

#[test]
fn the_binary_knows_every_command_and_argument() {
    let binary = named_by("MESHWORK_TEST_BIN");
    let mut violations = Vec::new();
    let mut seen = BTreeSet::new();
    for mode in modes() {
        let all = pods(&mode.objects);
        let ours = all.iter().filter(|pod| SERVICES.contains(&pod.component()) || OTHERS.contains(&pod.component()));
        for container in ours.flat_map(Pod::containers) {
            let args: Vec<_> = list(&container["args"]).map(text).collect();
            if seen.insert(args.clone()) {
                // What is before `--help` is judged all the same.
                let said = run(Command::new(&binary).args(&args).arg("--help").env_clear());
                if args.is_empty() || !said.is_ok {
                    violations.push(format!("{}: `meshwork {}`: {}", mode.name, args.join(" "), said.stderr.trim()));
                }
            }
        }
    }
    assert!(seen.len() >= SERVICES.len() + OTHERS.len(), "{seen:?}");
    assert_none(&violations);
    assert!(!run(Command::new(&binary).args(["migrate", "--no-such-flag", "--help"]).env_clear()).is_ok);
}

#[test]
fn keys_are_read_from_what_the_binary_prints() {
    let printed = "ops = \"0.0.0.0:9090\" # environment\ndata = \"x\" # default\n\n# About it.\n[users.server]\n\
                   drain_delay = \"5s\" # environment\n";
    assert_eq!(from_environment(printed), ["ops".to_owned(), "users.server.drain_delay".to_owned()].into());
    assert_eq!(keys("MESHWORK_NATS_URL").unwrap()[1], "nats.url");
    assert_eq!(keys("MESHWORK_USERS__SERVER__DRAIN_DELAY").unwrap()[0], "users.server.drain_delay");
    assert_eq!(keys("POSTGRESQL_PASSWORD"), None);
}

#[test]
fn variables_refer_to_those_above_them() {
    let container = serde_json::json!({ "env": [
        { "name": "PASSWORD", "valueFrom": { "secretKeyRef": {} } },
        { "name": "URL", "value": "redis://:$(PASSWORD)@host" },
    ] });
    assert_eq!(environment(&container)[1].1, "redis://:password@host");
}

#[test]
fn a_path_has_to_be_on_a_volume() {
    let root = tempfile::tempdir().unwrap();
    let container = serde_json::json!({ "volumeMounts": [{ "mountPath": "/tls" }] });
    let set = |path: &str| [("CA".to_owned(), path.to_owned())];
    let at = laid(&set("/tls/ca.crt"), &container, root.path()).unwrap().remove(0).1;
    assert!(Path::new(&at).is_file(), "{at}");
    assert_eq!(
        laid(&set("/tlsx/ca.crt"), &container, root.path()).unwrap_err(),
        "CA is /tlsx/ca.crt, which is on no volume"
    );
}
