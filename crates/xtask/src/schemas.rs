//! Strict JSON schemas of Kubernetes' objects, made from the API descriptions that its Go modules carry.
//!
//! Kubernetes ignores a field that it doesn't know, so a misspelt one is lost in silence; these schemas refuse it. One
//! folder for each version of Kubernetes, and `crds` for custom resources, each file as kubeconform names it:
//! `deployment-apps-v1.json`. What CEL rules and the API server's own code check beyond that needs a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value, json};

use crate::process::{Process, find_program};

/// The versions of Kubernetes that the manifests are held against: the oldest that is supported, and the newest.
pub const KUBERNETES: [&str; 2] = ["1.33.6", "1.37.2"];

/// The folder of custom resources among the schemas.
const CRDS: &str = "crds";

/// Modules that bring custom resources, each with its version and the folder of its definitions.
const CUSTOM: &[(&str, &str, &str)] = &[
    ("github.com/cert-manager/cert-manager", "1.21.2", "deploy/crds"),
    ("sigs.k8s.io/gateway-api", "1.6.3", "config/crd/standard"),
];

/// The longest that a module may take to download: Kubernetes' are 20 MB each.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(600);

/// The file that says what a folder was made from; it is written last, so that only a whole folder counts.
const STAMP: &str = "stamp";

/// What the API server takes as a quantity.
const QUANTITY: &str = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$";

/// Whether `folder` has all schemas, as this program would make them.
pub fn are_in(folder: &Path) -> bool {
    let is_made =
        |name: &str, wanted: &str| fs::read_to_string(folder.join(name).join(STAMP)).is_ok_and(|stamp| stamp == wanted);
    wanted().iter().all(|(name, stamp)| is_made(name, stamp))
}

/// Makes all schemas in `folder`, anew. Callers keep each other out.
///
/// # Errors
/// When there is no Go, a module can't be had, or it doesn't describe the API as those before it did.
pub fn make(folder: &Path) -> Result<()> {
    if find_program("go").is_none() {
        bail!(
            "the schemas of Kubernetes come from its Go modules, and there is no `go` on the PATH; install Go \
             (https://go.dev/doc/install) and run `cargo xtask setup` again"
        );
    }
    eprintln!("the schemas of Kubernetes {} are missing and will be made", KUBERNETES.join(" and "));
    let start = Instant::now();
    // Also versions that are no longer wanted, and what a killed setup has left.
    empty(folder)?;
    let modules = folder.join("modules");
    for version in KUBERNETES {
        let module = download("k8s.io/kubernetes", version, &modules)?;
        let path = module.join("api/openapi-spec/swagger.json");
        write(&folder.join(version), &of_kubernetes(&read_json(&path)?)?)?;
    }
    let mut custom = Schemas::new();
    for (module, version, definitions) in CUSTOM {
        let definitions = download(module, version, &modules)?.join(definitions);
        for path in files(&definitions, "yaml")? {
            let text = read(&path)?;
            let documents: Vec<Value> =
                serde_saphyr::from_multiple(&text).with_context(|| format!("{} isn't YAML", path.display()))?;
            // Policies of the API server may lie beside them.
            for document in documents.iter().filter(|document| document["kind"] == "CustomResourceDefinition") {
                custom.extend(of_custom_resource(document).with_context(|| format!("in {}", path.display()))?);
            }
        }
    }
    write(&folder.join(CRDS), &custom)?;
    // A module is a hundred times as large as what is made of it.
    remove(&modules)?;
    for (name, stamp) in wanted() {
        let path = folder.join(name).join(STAMP);
        fs::write(&path, stamp).with_context(|| format!("cannot write {}", path.display()))?;
    }
    eprintln!("the schemas of Kubernetes were made in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Schemas by the name of their file.
type Schemas = BTreeMap<String, Value>;

/// The folders that there should be, each with its stamp: what it is made from, and by which text of this file.
fn wanted() -> Vec<(String, String)> {
    let stamp = |from: &str| format!("{from}\n{}", include_str!("schemas.rs"));
    let custom: Vec<_> = CUSTOM.iter().map(|(module, version, _)| format!("{module} {version}")).collect();
    let kubernetes = KUBERNETES.iter().map(|version| ((*version).to_owned(), stamp(version)));
    kubernetes.chain([(CRDS.to_owned(), stamp(&custom.join("\n")))]).collect()
}

/// Downloads a Go module below `modules`, apart from the user's own, and returns its folder.
fn download(module: &str, version: &str, modules: &Path) -> Result<PathBuf> {
    fs::create_dir_all(modules).with_context(|| format!("cannot make {}", modules.display()))?;
    let told = Process::new("go")
        // Else the files were read-only, and couldn't be removed.
        .env("GOFLAGS", "-modcacherw")
        .env("GOMODCACHE", modules)
        .args(["mod", "download", "-json"])
        .arg(format!("{module}@v{version}"))
        .folder(modules)
        .limit(DOWNLOAD_LIMIT)
        .output()?;
    let told: Value = serde_json::from_str(&told).context("`go mod download -json` didn't answer with JSON")?;
    let folder = told["Dir"].as_str().with_context(|| format!("`go mod download` tells no folder of {module}"))?;
    Ok(folder.into())
}

/// The schemas of all objects that `swagger`, Kubernetes' description of its API, knows.
fn of_kubernetes(swagger: &Value) -> Result<Schemas> {
    let described = swagger["definitions"].as_object().context("swagger.json has no `definitions`")?;
    let definitions: BTreeMap<&str, Value> =
        described.iter().map(|(name, described)| (name.as_str(), definition(name, described))).collect();
    let mut schemas = Schemas::new();
    for (name, described) in described {
        // What is of no kind is a part of an object; what is of several is an answer to any request, like a Status.
        let Some([kind]) = described["x-kubernetes-group-version-kind"].as_array().map(Vec::as_slice) else { continue };
        let part = |key: &str| kind[key].as_str().with_context(|| format!("{name} tells no {key} of its kind"));
        let (group, version, kind) = (part("group")?, part("version")?, part("kind")?);
        let mut used = BTreeSet::new();
        reach(&definitions, name, &mut used)?;
        let used: Map<_, _> = used.iter().map(|name| ((*name).to_owned(), definitions[name].clone())).collect();
        let mut schema = object(group, version, kind, json!({ "$ref": format!("#/definitions/{name}") }));
        schema["definitions"] = Value::Object(used);
        schemas.insert(file_name(group, version, kind), schema);
    }
    // A description of another form would else make schemas of nothing, and nothing would be refused.
    ensure!(schemas.contains_key("deployment-apps-v1.json"), "swagger.json describes no Deployment");
    Ok(schemas)
}

/// The definition of one type of Kubernetes.
fn definition(name: &str, described: &Value) -> Value {
    if name.ends_with(".api.resource.Quantity") {
        return json!({ "oneOf": [{ "type": "string", "pattern": QUANTITY }, { "type": "number" }] });
    }
    strict(described)
}

/// Adds to `used` the definition `name` and all that it refers to.
fn reach<'a>(definitions: &BTreeMap<&'a str, Value>, name: &str, used: &mut BTreeSet<&'a str>) -> Result<()> {
    let Some((name, definition)) = definitions.get_key_value(name) else {
        bail!("swagger.json has no definition of {name}, and refers to it");
    };
    if used.insert(name) {
        for target in references(definition) {
            reach(definitions, target, used)?;
        }
    }
    Ok(())
}

/// The definitions that a schema refers to.
fn references(schema: &Value) -> Vec<&str> {
    match schema {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/definitions/"));
            own.into_iter().chain(fields.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// The schemas of a CustomResourceDefinition, one for each version that is served.
fn of_custom_resource(definition: &Value) -> Result<Schemas> {
    let spec = &definition["spec"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let group = text(&spec["group"]).context("there is no spec.group of a CustomResourceDefinition")?;
    let kind = text(&spec["names"]["kind"]).context("there is no spec.names.kind of a CustomResourceDefinition")?;
    let mut schemas = Schemas::new();
    for version in spec["versions"].as_array().context("there are no spec.versions of a CustomResourceDefinition")? {
        if version["served"] == json!(true) {
            let name = text(&version["name"]).context("a version of a CustomResourceDefinition has no name")?;
            let described = &version["schema"]["openAPIV3Schema"];
            ensure!(described.is_object(), "version {name} of {kind} has no schema");
            let mut schema = strict(described);
            // Custom resources leave their metadata to the API server.
            schema["properties"]["metadata"] = json!({ "type": "object" });
            schemas.insert(file_name(&group, &name, &kind), object(&group, &name, &kind, schema));
        }
    }
    ensure!(!schemas.is_empty(), "no version of {kind} is served");
    Ok(schemas)
}

/// What `described` allows and nothing else: fields that it doesn't name are refused.
fn strict(described: &Value) -> Value {
    let Value::Object(fields) = described else { return described.clone() };
    if fields.contains_key("$ref") {
        return json!({ "$ref": fields["$ref"] });
    }
    let is = |key: &str| fields.get(key) == Some(&json!(true));
    if is("x-kubernetes-int-or-string") || fields.get("format") == Some(&json!("int-or-string")) {
        return json!({ "oneOf": [{ "type": "string" }, { "type": "integer" }] });
    }
    let mut made = Map::new();
    for (key, value) in fields {
        match (key.as_str(), value) {
            // Formats are Kubernetes' own words, and the rest is for people and for the API server.
            ("description" | "default" | "format" | "example" | "nullable", _) => continue,
            (key, _) if key.starts_with("x-kubernetes-") => continue,
            ("properties", Value::Object(properties)) => {
                let properties = properties.iter().map(|(name, value)| (name.clone(), strict(value)));
                made.insert(key.clone(), Value::Object(properties.collect()));
            }
            ("allOf" | "anyOf" | "oneOf", Value::Array(choices)) => {
                // These add rules to the fields around them, and so name only some.
                made.insert(key.clone(), Value::Array(choices.clone()));
            }
            ("items" | "additionalProperties", value) => {
                made.insert(key.clone(), strict(value));
            }
            (key, value) => {
                made.insert(key.to_owned(), value.clone());
            }
        }
    }
    if made.contains_key("properties") && !is("x-kubernetes-preserve-unknown-fields") {
        made.entry("additionalProperties").or_insert(json!(false));
    }
    if is("nullable")
        && let Some(kind) = made.remove("type")
    {
        made.insert("type".to_owned(), json!([kind, "null"]));
    }
    Value::Object(made)
}

/// The schema of a whole object, which has to say what it is.
fn object(group: &str, version: &str, kind: &str, schema: Value) -> Value {
    let api = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "allOf": [schema, {
            "required": ["apiVersion", "kind", "metadata"],
            "properties": { "apiVersion": { "const": api }, "kind": { "const": kind } },
        }],
    })
}

/// The file of a kind, as kubeconform's `{{.ResourceKind}}{{.KindSuffix}}.json` calls it.
fn file_name(group: &str, version: &str, kind: &str) -> String {
    let group = group.split('.').next().unwrap_or_default();
    let parts: Vec<_> = [kind, group, version].into_iter().filter(|part| !part.is_empty()).collect();
    format!("{}.json", parts.join("-").to_lowercase())
}

fn write(folder: &Path, schemas: &Schemas) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, schema) in schemas {
        let path = folder.join(name);
        fs::write(&path, schema.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn empty(folder: &Path) -> Result<()> {
    remove(folder)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}; remove it by hand", folder.display()))
        }
        _ => Ok(()),
    }
}

/// The files of a folder with an extension, in order.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut found: Vec<_> = paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    found.sort();
    ensure!(!found.is_empty(), "there is no .{extension} file in {}", folder.display());
    Ok(found)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn read_json(path: &Path) -> Result<Value> {
    serde_json::from_str(&read(path)?).with_context(|| format!("{} isn't JSON", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swagger() -> Value {
        let meta =
            json!({ "type": "object", "properties": { "name": { "type": "string", "description": "its name" } } });
        let spec = json!({ "properties": {
            "replicas": { "type": "integer", "format": "int32", "default": 1 },
            "surge": { "$ref": "#/definitions/util.intstr.IntOrString" },
            "labels": { "type": "object", "additionalProperties": { "type": "string" } },
        } });
        json!({ "definitions": {
            "apps.v1.Deployment": {
                "properties": {
                    "apiVersion": { "type": "string" },
                    "kind": { "type": "string" },
                    "metadata": { "$ref": "#/definitions/meta", "description": "who it is" },
                    "spec": { "$ref": "#/definitions/spec" },
                },
                "x-kubernetes-group-version-kind": [{ "group": "apps", "version": "v1", "kind": "Deployment" }],
            },
            "meta": meta,
            "spec": spec,
            "unused": { "type": "object" },
            "util.intstr.IntOrString": { "type": "string", "format": "int-or-string" },
        } })
    }

    #[test]
    fn fields_that_are_not_described_are_refused_at_every_depth() {
        let schemas = of_kubernetes(&swagger()).unwrap();
        let schema = &schemas["deployment-apps-v1.json"];
        for name in ["apps.v1.Deployment", "meta", "spec"] {
            assert_eq!(schema["definitions"][name]["additionalProperties"], json!(false), "{name}: {schema}");
        }
        assert_eq!(schema["allOf"][0], json!({ "$ref": "#/definitions/apps.v1.Deployment" }));
        assert_eq!(schema["allOf"][1]["properties"]["apiVersion"], json!({ "const": "apps/v1" }));
    }

    #[test]
    fn maps_stay_open_and_their_values_are_held_to_their_type() {
        let schemas = of_kubernetes(&swagger()).unwrap();
        let labels = &schemas["deployment-apps-v1.json"]["definitions"]["spec"]["properties"]["labels"];
        assert_eq!(*labels, json!({ "type": "object", "additionalProperties": { "type": "string" } }));
    }

    #[test]
    fn a_schema_holds_the_definitions_that_it_needs_and_no_others() {
        let schemas = of_kubernetes(&swagger()).unwrap();
        let used: Vec<_> = schemas["deployment-apps-v1.json"]["definitions"].as_object().unwrap().keys().collect();
        assert_eq!(used, ["apps.v1.Deployment", "meta", "spec", "util.intstr.IntOrString"]);
    }

    #[test]
    fn a_description_of_another_form_is_an_error() {
        assert!(of_kubernetes(&json!({})).is_err());
        let error = of_kubernetes(&json!({ "definitions": {} })).unwrap_err().to_string();
        assert_eq!(error, "swagger.json describes no Deployment");
        let mut dangling = swagger();
        dangling["definitions"].as_object_mut().unwrap().remove("meta");
        let error = of_kubernetes(&dangling).unwrap_err().to_string();
        assert_eq!(error, "swagger.json has no definition of meta, and refers to it");
    }

    #[test]
    fn ports_and_quantities_have_the_forms_that_kubernetes_takes() {
        let either = json!({ "oneOf": [{ "type": "string" }, { "type": "integer" }] });
        assert_eq!(strict(&json!({ "type": "string", "format": "int-or-string" })), either);
        assert_eq!(strict(&json!({ "x-kubernetes-int-or-string": true, "anyOf": [] })), either);
        let quantity = definition("io.k8s.apimachinery.pkg.api.resource.Quantity", &json!({ "type": "string" }));
        assert_eq!(quantity["oneOf"][0]["pattern"], json!(QUANTITY));
    }

    #[test]
    fn a_custom_resource_has_a_schema_for_each_version_that_is_served() {
        let version = |name: &str, served: bool| {
            json!({ "name": name, "served": served, "schema": { "openAPIV3Schema": { "type": "object", "properties": {
                "metadata": { "type": "object" },
                "spec": { "type": "object", "properties": {
                    "any": { "type": "object", "properties": {}, "x-kubernetes-preserve-unknown-fields": true },
                    "size": { "type": "integer", "nullable": true },
                } },
            } } } })
        };
        let versions = [version("v1", true), version("v1alpha1", false)];
        let definition = json!({ "spec": {
            "group": "cert-manager.io", "names": { "kind": "Issuer" }, "versions": versions,
        } });
        let schemas = of_custom_resource(&definition).unwrap();
        assert_eq!(schemas.keys().collect::<Vec<_>>(), ["issuer-cert-manager-v1.json"]);
        let spec = &schemas["issuer-cert-manager-v1.json"]["allOf"][0]["properties"]["spec"];
        assert_eq!(spec["additionalProperties"], json!(false));
        assert_eq!(spec["properties"]["any"].get("additionalProperties"), None);
        assert_eq!(spec["properties"]["size"], json!({ "type": ["integer", "null"] }));
    }

    #[test]
    fn schemas_count_only_when_this_text_made_them() {
        let folder = std::env::temp_dir().join(format!("meshwork-schemas-{}", std::process::id()));
        assert!(!are_in(&folder), "nothing is there");
        for (name, stamp) in wanted() {
            fs::create_dir_all(folder.join(&name)).unwrap();
            fs::write(folder.join(&name).join(STAMP), stamp).unwrap();
        }
        assert!(are_in(&folder));
        fs::write(folder.join(CRDS).join(STAMP), "an earlier one").unwrap();
        assert!(!are_in(&folder));
        fs::remove_dir_all(&folder).unwrap();
    }
}
