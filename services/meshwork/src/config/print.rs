//! `meshwork config`: every setting with its value, its origin and its meaning.

use figment::Figment;
use meshwork_chassis::config::REDACTED;
use serde_json::{Map, Value};

use super::Settings;
use super::layers::{Flags, load, origin};
use crate::cli::SettingsArgs;
use crate::failure::Failure;

/// Words in a key that make its value a secret, should anything but `Secret` ever hold one.
const SECRET_WORDS: [&str; 4] = ["password", "secret", "private_key", "token_value"];

/// Prints the settings in force as TOML, so that the output can be a settings file.
///
/// # Errors
/// When they can't be loaded.
pub fn print(args: &SettingsArgs) -> Result<(), Failure> {
    let (settings, figment) = load(args, &Flags::new())?;
    print!("{}", render(&settings, &figment)?);
    Ok(())
}

fn render(settings: &Settings, figment: &Figment) -> Result<String, Failure> {
    let internal =
        |error: serde_json::Error| Failure::new(format!("can't show the settings: {error}"), "report this bug");
    let values = serde_json::to_value(settings).map_err(internal)?;
    let schema = serde_json::to_value(schemars::schema_for!(Settings)).map_err(internal)?;
    let mut out = String::new();
    if let Value::Object(values) = &values {
        table(&mut out, &[], values, &schema, &schema, figment);
    }
    Ok(out)
}

/// Writes a table: first its values, then the tables in it.
fn table(
    out: &mut String,
    path: &[&str],
    values: &Map<String, Value>,
    schema: &Value,
    root: &Value,
    figment: &Figment,
) {
    let properties = properties(schema, root);
    let at = |key: &str| [path, &[key]].concat().join(".");
    for (key, value) in values.iter().filter(|(_, value)| !value.is_object()) {
        let property = properties.and_then(|properties| properties.get(key));
        for line in documentation(property, root).lines() {
            out.push_str(&format!("# {line}\n"));
        }
        let from = figment.find_metadata(&at(key)).map_or_else(|| "default".to_owned(), origin);
        let secret = SECRET_WORDS.iter().any(|word| key.contains(word)) && value.as_str() != Some("");
        let value = if secret { format!("{REDACTED:?}") } else { value.to_string() };
        out.push_str(&format!("{key} = {value} # {from}\n"));
    }
    for (key, value) in values {
        let Value::Object(inner) = value else { continue };
        let property = properties.and_then(|properties| properties.get(key));
        out.push('\n');
        for line in documentation(property, root).lines() {
            out.push_str(&format!("# {line}\n"));
        }
        out.push_str(&format!("[{}]\n", at(key)));
        let schema = property.unwrap_or(&Value::Null);
        table(out, &[path, &[key.as_str()]].concat(), inner, schema, root, figment);
    }
}

/// The schema that `schema` refers to.
fn resolve<'s>(schema: &'s Value, root: &'s Value) -> &'s Value {
    match schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#')) {
        Some(pointer) => root.pointer(pointer).unwrap_or(schema),
        None => schema,
    }
}

fn properties<'s>(schema: &'s Value, root: &'s Value) -> Option<&'s Map<String, Value>> {
    resolve(schema, root).get("properties")?.as_object()
}

/// The doc comment of a setting.
fn documentation<'s>(property: Option<&'s Value>, root: &'s Value) -> &'s str {
    let Some(property) = property else { return "" };
    let text = |schema: &'s Value| schema.get("description").and_then(Value::as_str);
    text(property).or_else(|| text(resolve(property, root))).unwrap_or_default()
}
