//! The arrows between packages: `tests → services → crates`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// One package of the workspace.
#[derive(Debug, Default)]
pub struct Package {
    /// What its `Cargo.toml` calls it.
    pub name: String,
    /// Its folder from the root, such as `crates/sql`; empty for the contracts, which are the root package.
    pub folder: String,
    /// The text of its `Cargo.toml`.
    pub manifest: String,
    /// The packages of ours that it needs outside its tests.
    pub needs: Vec<Need>,
    /// The names by which its code knows other crates, those of its tests included.
    pub externs: BTreeSet<String>,
}

/// A dependency on a package of ours.
#[derive(Debug)]
pub struct Need {
    /// What the manifest calls it.
    pub name: String,
    /// Its folder from the root.
    pub folder: String,
}

/// The packages of the workspace at `root`.
///
/// # Errors
/// When cargo can't read the workspace.
pub fn packages(root: &Path) -> Result<Vec<Package>, String> {
    // Neither the network nor the lock file of the package cache is waited for.
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--no-deps", "--locked", "--offline", "--format-version", "1"])
        .current_dir(root)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run `cargo metadata`; check that cargo is installed: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo can't read the workspace: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let metadata: Value =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("`cargo metadata` isn't JSON: {error}"))?;
    let workspace = text(&metadata["workspace_root"])?;
    list(&metadata["packages"])?.iter().map(|package| read(package, Path::new(workspace))).collect()
}

/// Reads what `cargo metadata` tells of one package.
fn read(package: &Value, workspace: &Path) -> Result<Package, String> {
    let folder = |path: &Path| Some(path.strip_prefix(workspace).ok()?.to_string_lossy().replace('\\', "/"));
    let path = Path::new(text(&package["manifest_path"])?);
    let manifest = fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}; check that it is a file: {error}", path.display()))?;
    let mut needs = Vec::new();
    let mut externs = BTreeSet::new();
    for dependency in list(&package["dependencies"])? {
        let name = dependency["rename"].as_str().map_or_else(|| text(&dependency["name"]), Ok)?;
        externs.insert(name.replace('-', "_"));
        let ours = dependency["path"].as_str().and_then(|path| folder(Path::new(path)));
        if let Some(folder) = ours.filter(|_| dependency["kind"] != "dev") {
            needs.push(Need { name: name.to_owned(), folder });
        }
    }
    Ok(Package {
        name: text(&package["name"])?.to_owned(),
        folder: path.parent().and_then(folder).unwrap_or_default(),
        manifest,
        needs,
        externs,
    })
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("`cargo metadata` has changed: {value} should be a string"))
}

fn list(value: &Value) -> Result<&Vec<Value>, String> {
    value.as_array().ok_or_else(|| format!("`cargo metadata` has changed: {value} should be a list"))
}

/// The dependencies that point the wrong way.
pub fn violations(packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    for package in packages {
        for need in &package.needs {
            if let Some(arrow) = broken_arrow(&package.folder, &need.folder) {
                found.push(format!(
                    "{}:{}: {} depends on {}, but {arrow}",
                    Path::new(&package.folder).join("Cargo.toml").display(),
                    line_of(&package.manifest, &need.name),
                    package.name,
                    need.name,
                ));
            }
        }
    }
    found
}

/// The arrow that a dependency of the package in folder `from` on the package in folder `to` breaks.
fn broken_arrow(from: &str, to: &str) -> Option<&'static str> {
    match to {
        "services/meshwork" => return Some("nothing depends on the binary"),
        "crates/testkit" => return Some("only tests use the testkit (tests → services → crates)"),
        "crates/xtask" => return Some("nothing depends on the project's own commands"),
        _ => {}
    }
    if let Some(name) = from.strip_prefix("crates/") {
        if to.starts_with("services/") {
            return Some("the arrows are tests → services → crates");
        }
        if to.is_empty() && name != "testkit" {
            return Some("the crates stay usable without this shop: only testkit knows the contracts");
        }
        return match name {
            "sql" | "mesh" | "telemetry" => Some("sql, mesh and telemetry need nothing of ours"),
            "aip" if to != "crates/mesh" => Some("aip needs nothing of ours but the mesh's error kinds"),
            "cache" | "eventstore" if to != "crates/sql" => Some("cache and eventstore may use sql alone"),
            "events" if to != "crates/sql" && to != "crates/eventstore" => {
                Some("events may use sql and eventstore alone")
            }
            _ => None,
        };
    }
    match from {
        "" => Some("the contracts need nothing of ours"),
        "services/meshwork" => None,
        "services/chassis" if to.starts_with("services/") => {
            Some("the chassis carries every service and so knows none")
        }
        _ if from.starts_with("services/") && to.starts_with("services/") && to != "services/chassis" => {
            Some("services reach each other over the wire; of services/ they may use the chassis alone")
        }
        _ => None,
    }
}

/// The line of a manifest that names a dependency outside those of tests; 1 when there is none.
fn line_of(manifest: &str, dependency: &str) -> usize {
    let mut is_in_dependencies = false;
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            let is_of_others = section.contains("dev-dependencies") || section.starts_with("workspace");
            is_in_dependencies = section.ends_with("dependencies") && !is_of_others;
            if section.ends_with(&format!("dependencies.{dependency}")) && !is_of_others {
                return index + 1;
            }
        } else if is_in_dependencies {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default().trim_matches('"');
            if name == dependency {
                return index + 1;
            }
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the graph with one dependency, of `from` on `to`, is told.
    fn with_arrow(from: &str, to: &str) -> Option<String> {
        let need = Need { name: "needed".to_owned(), folder: to.to_owned() };
        let manifest = "[package]\nname = \"needy\"\n\n[dependencies]\nneeded.workspace = true\n".to_owned();
        let package = Package {
            name: "needy".to_owned(),
            folder: from.to_owned(),
            manifest,
            needs: vec![need],
            ..Package::default()
        };
        let mut found = violations(&[package]);
        assert!(found.len() <= 1);
        found.pop()
    }

    #[test]
    fn planted_arrows_are_found() {
        for (from, to, arrow) in [
            ("crates/events", "services/orders", "tests → services → crates"),
            ("crates/testkit", "services/users", "tests → services → crates"),
            ("crates/sql", "", "only testkit knows the contracts"),
            ("crates/xtask", "", "only testkit knows the contracts"),
            ("crates/brand-new", "", "only testkit knows the contracts"),
            ("crates/sql", "crates/events", "need nothing of ours"),
            ("crates/mesh", "crates/telemetry", "need nothing of ours"),
            ("crates/telemetry", "crates/sql", "need nothing of ours"),
            ("crates/mesh", "crates/aip", "need nothing of ours"),
            ("crates/aip", "crates/sql", "needs nothing of ours"),
            ("crates/eventstore", "crates/events", "may use sql alone"),
            ("crates/cache", "crates/eventstore", "may use sql alone"),
            ("crates/events", "crates/cache", "sql and eventstore alone"),
            ("services/orders", "services/products", "over the wire"),
            ("services/gateway", "services/users", "over the wire"),
            ("services/chassis", "services/users", "knows none"),
            ("services/users", "services/meshwork", "nothing depends on the binary"),
            ("services/users", "crates/testkit", "only tests use the testkit"),
            ("crates/events", "crates/testkit", "only tests use the testkit"),
            ("services/meshwork", "crates/testkit", "only tests use the testkit"),
            ("services/meshwork", "crates/xtask", "project's own commands"),
            ("", "crates/sql", "the contracts need nothing of ours"),
        ] {
            let found = with_arrow(from, to).unwrap_or_else(|| panic!("{from} → {to} was let through"));
            assert!(found.contains(": needy depends on needed, but "), "{found}");
            assert!(found.contains(arrow), "{from} → {to}: {found}");
            assert!(found.starts_with(&Path::new(from).join("Cargo.toml:5: ").display().to_string()), "{found}");
        }
    }

    #[test]
    fn packages_are_read_with_what_they_need_outside_tests() {
        let dependency = |name: &str, kind: Value, path: Value, rename: Value| serde_json::json!({"name": name, "kind": kind, "path": path, "rename": rename});
        let root = std::env::temp_dir().join(format!("meshwork-house-{}", std::process::id()));
        let manifest = root.join("crates/needy/Cargo.toml");
        fs::create_dir_all(root.join("crates/needy")).unwrap();
        fs::write(&manifest, "[package]").unwrap();
        let package = serde_json::json!({"name": "needy", "manifest_path": manifest, "dependencies": [
            dependency("meshwork-sql", Value::Null, root.join("crates/sql").to_str().into(), "my-sql".into()),
            dependency("meshwork-api", "build".into(), root.to_str().into(), Value::Null),
            dependency("meshwork-testkit", "dev".into(), root.join("crates/testkit").to_str().into(), Value::Null),
            dependency("serde-x", Value::Null, Value::Null, Value::Null),
        ]});
        let package = read(&package, &root);
        fs::remove_dir_all(&root).unwrap();
        let package = package.unwrap();
        let needs: Vec<_> = package.needs.iter().map(|need| (need.name.as_str(), need.folder.as_str())).collect();
        assert_eq!(needs, [("my-sql", "crates/sql"), ("meshwork-api", "")]);
        assert_eq!(package.folder, "crates/needy");
        assert_eq!(
            package.externs,
            ["my_sql", "meshwork_api", "meshwork_testkit", "serde_x"].map(str::to_owned).into()
        );
    }

    #[test]
    fn arrows_of_the_design_are_let_through() {
        for (from, to) in [
            ("crates/testkit", ""),
            ("crates/aip", "crates/mesh"),
            ("crates/eventstore", "crates/sql"),
            ("crates/cache", "crates/sql"),
            ("crates/events", "crates/sql"),
            ("crates/events", "crates/eventstore"),
            ("services/orders", ""),
            ("services/orders", "crates/events"),
            ("services/orders", "services/chassis"),
            ("services/chassis", "crates/sql"),
            ("services/chassis", "crates/cache"),
            ("services/users", "crates/cache"),
            ("services/meshwork", "services/orders"),
            ("services/meshwork", "services/chassis"),
        ] {
            assert_eq!(with_arrow(from, to), None);
        }
    }

    #[test]
    fn the_line_is_that_of_the_dependency_outside_tests() {
        let manifest = "[dev-dependencies]\na.workspace = true\n[dependencies]\nab = \"1\"\na = { path = \"x\" }\n";
        assert_eq!(line_of(manifest, "a"), 5);
        assert_eq!(line_of("[dependencies.a]\npath = \"x\"\n", "a"), 1);
        assert_eq!(line_of("\n[dependencies]\n\"a\".path = \"x\"\n", "a"), 3);
        assert_eq!(line_of("[package]\na = 1\n", "a"), 1);
    }
}
