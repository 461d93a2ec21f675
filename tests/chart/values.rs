//! What is written about the values: every key has a comment in `values.yaml`, the same text and default stand in the
//! schema, and the table of the chart's README is made of them.

use serde_json::{Value, json};

use crate::chart::{files, folder, own_values, template};
use crate::comments::{self, Comment};
use crate::objects::SERVICES;
use crate::programs::{assert_none, hold, read};

/// Where the table begins and ends in the README.
const MARKS: [&str; 2] = ["<!-- values -->", "<!-- /values -->"];

fn written() -> Vec<Comment> {
    comments::of(&read(&folder().join("values.yaml"))).unwrap_or_else(|error| panic!("values.yaml:{error}"))
}

fn schema() -> Value {
    let path = folder().join("values.schema.json");
    serde_json::from_str(&read(&path)).unwrap_or_else(|error| panic!("{} isn't JSON: {error}", path.display()))
}

/// The paths of all keys of a map and of the maps in it.
fn paths(values: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in values.as_object().into_iter().flatten() {
        found.push(key.clone());
        found.extend(paths(value).into_iter().map(|inner| format!("{key}.{inner}")));
    }
    found
}

/// The value at a path.
fn at<'a>(values: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(values, |value, key| &value[key])
}

/// The paths of all properties that a schema names in its place, definitions that it refers to left out.
fn properties(schema: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        found.push((key.clone(), property));
        found.extend(properties(property).into_iter().map(|(inner, property)| (format!("{key}.{inner}"), property)));
    }
    found
}

#[test]
fn every_value_has_a_comment() {
    let written = written();
    let told: Vec<_> = written.iter().map(|comment| &comment.path).collect();
    let values = paths(&own_values());
    assert!(values.len() > 100, "the values were read");
    let mut violations = Vec::new();
    for path in &values {
        match written.iter().find(|comment| comment.path == *path) {
            Some(comment) if comment.text.is_empty() => violations.push(format!(
                "values.yaml:{}: {path} has no comment; write one above it that begins with `# -- `",
                comment.line
            )),
            Some(_) => {}
            None => violations.push(format!("values.yaml: {path} doesn't stand on a line of its own")),
        }
    }
    violations.extend(told.iter().filter(|path| !values.contains(path)).map(|path| format!("{path} is no value")));
    assert_none(&violations);
}

#[test]
fn the_schema_tells_the_same_of_every_value() {
    let (values, schema) = (own_values(), schema());
    let described = properties(&schema);
    let mut violations = Vec::new();
    for comment in written() {
        let path = &comment.path;
        let Some((_, property)) = described.iter().find(|(described, _)| described == path) else {
            // What is below a map of any keys is an example of them.
            let parent =
                path.rsplit_once('.').and_then(|(parent, _)| described.iter().find(|(path, _)| path == parent));
            if parent.is_none_or(|(_, parent)| parent.get("properties").is_some()) {
                violations.push(format!("{path} is not in values.schema.json"));
            }
            continue;
        };
        if property["description"] != *comment.text {
            violations
                .push(format!("{path}: the schema says {}, values.yaml {:?}", property["description"], comment.text));
        }
        // A map has the defaults of its keys.
        let value = at(&values, path);
        let is_map = property.get("properties").is_some() || property["$ref"] == "#/$defs/service";
        if !is_map && property.get("default") != Some(value) {
            let default = &property["default"];
            violations.push(format!("{path} is {value}, and its default in the schema {default}"));
        }
    }
    let is_value = |path: &str| !at(&values, path).is_null();
    let idle = described.iter().filter(|(path, _)| !is_value(path));
    violations.extend(idle.map(|(path, _)| format!("{path} is in values.schema.json and not in values.yaml")));
    assert_none(&violations);
}

#[test]
fn sections_of_services_take_the_keys_that_all_services_have() {
    let schema = schema();
    let keys: Vec<_> = schema["properties"]["defaults"]["properties"].as_object().unwrap().keys().collect();
    let reference = |key: &&String| json!({ "$ref": format!("#/properties/defaults/properties/{key}") });
    let wanted: serde_json::Map<_, _> = keys.iter().map(|key| ((*key).clone(), reference(key))).collect();
    assert_eq!(schema["$defs"]["service"]["properties"], Value::Object(wanted), "the keys of `defaults`");
    for service in SERVICES {
        assert_eq!(schema["properties"][service]["$ref"], "#/$defs/service", "{service}");
    }
}

#[test]
fn a_misspelt_key_is_refused_wherever_it_stands() {
    let schema = schema();
    let mut values = json!({});
    let is_of_service = |property: &Value| property["$ref"] == "#/$defs/service";
    let mut objects: Vec<_> = properties(&schema)
        .into_iter()
        .filter(|(_, property)| property.get("properties").is_some() || is_of_service(property))
        .map(|(path, _)| path)
        // PostgreSQL has hundreds of settings, and says itself which it doesn't know.
        .filter(|path| path != "postgresql.settings")
        .collect();
    // Keys of `defaults` in a section that has none of its own.
    objects.extend(["products.resources", "products.autoscaling"].map(str::to_owned));
    assert!(objects.len() > 30, "the objects were found: {objects:?}");
    for (number, path) in objects.iter().enumerate() {
        let place = path.split('.').fold(&mut values, |value, key| &mut value[key]);
        place[format!("typo{number}")] = json!(1);
    }
    values["typo"] = json!(1);
    let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
    std::fs::write(file.path(), values.to_string()).unwrap();
    let said = template(&["-f", file.path().to_str().unwrap()]);
    assert!(!said.is_ok, "misspelt keys are refused");
    // In the words of the keyword that refused it.
    let is_named = |key: &str| {
        [format!("'{key}' not allowed"), format!("/{key}': false schema")]
            .iter()
            .any(|words| said.stderr.contains(words))
    };
    let missing: Vec<_> = (0..objects.len()).filter(|number| !is_named(&format!("typo{number}"))).collect();
    let missing: Vec<_> =
        missing.iter().map(|number| format!("{}.typo{number} is let through", objects[*number])).collect();
    assert!(is_named("typo"), "at the top: {}", said.stderr);
    assert!(missing.is_empty(), "{}\n{}", missing.join("\n"), said.stderr);
}

#[test]
fn the_readme_lists_every_value() {
    let path = folder().join("README.md");
    let readme = read(&path);
    let [begin, end] =
        MARKS.map(|mark| readme.find(mark).unwrap_or_else(|| panic!("the chart's README has no {mark}")));
    let table = table(&written(), &own_values());
    let wanted = format!("{}{}\n{table}{}", &readme[..begin], MARKS[0], &readme[end..]);
    assert_none(&hold(&path, &wanted).err().into_iter().collect::<Vec<_>>());
}

/// The values as a table of Markdown. A section's own line says what the lines below it are about.
fn table(comments: &[Comment], values: &Value) -> String {
    let mut table = "| key | default | what |\n|---|---|---|\n".to_owned();
    for Comment { path, text, .. } in comments {
        let value = at(values, path);
        let default = match value {
            Value::Object(fields) if !fields.is_empty() => String::new(),
            value => format!("`{value}`"),
        };
        table.push_str(&format!("| `{path}` | {} | {} |\n", default.replace('|', "\\|"), text.replace('|', "\\|")));
    }
    table
}

#[test]
fn a_table_has_a_line_for_every_key() {
    let comments = comments::of("# -- All of it.\na:\n  # -- Either `x|y`.\n  b: x\n  # -- None.\n  c: {}\n").unwrap();
    let table = table(&comments, &json!({ "a": { "b": "x", "c": {} } }));
    let lines: Vec<_> = table.lines().skip(2).collect();
    assert_eq!(lines, ["| `a` |  | All of it. |", "| `a.b` | `\"x\"` | Either `x\\|y`. |", "| `a.c` | `{}` | None. |"]);
}

#[test]
fn the_mode_of_production_is_the_file_that_people_copy() {
    let production = read(&folder().join("values-production.yaml"));
    let mode = files(&folder().join("ci")).into_iter().find(|path| path.ends_with("production-values.yaml"));
    let mode = read(&mode.expect("ci/production-values.yaml is there"));
    assert!(mode.ends_with(&production), "helm/meshwork/ci/production-values.yaml ends with values-production.yaml");
    let before = &mode[..mode.len() - production.len()];
    assert!(before.lines().all(|line| line.starts_with('#')), "nothing but a comment stands before it: {before}");
}

#[test]
fn the_chart_is_of_the_version_of_the_workspace() {
    let field = |text: &str, key: &str, mark: char| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(key));
        lines.map(|rest| rest.trim_matches([mark, ' ', '"']).to_owned()).next()
    };
    let workspace = field(&read(&crate::programs::root().join("Cargo.toml")), "version", '=').unwrap();
    let chart = read(&folder().join("Chart.yaml"));
    for key in ["version", "appVersion"] {
        assert_eq!(field(&chart, key, ':').as_deref(), Some(workspace.as_str()), "{key} of Chart.yaml");
    }
}
