//! `meshwork config`: every setting with its value, its origin and its meaning.

use figment::Figment;
use meshwork_chassis::config::REDACTED;
use serde_json::{Map, Value};

use super::Settings;
use super::layers::{Flags, load};
use super::origin::origin;
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
        table(&mut out, &[], values, &schema, &schema, &|path: &str| found(figment, path));
    }
    Ok(out)
}

/// Where the setting at a path comes from.
fn found(figment: &Figment, path: &str) -> String {
    figment.find_metadata(path).map_or_else(|| "default".to_owned(), origin)
}

/// Writes a table: first its values, then the tables in it. `from` says where the value of a path comes from.
fn table(
    out: &mut String,
    path: &[&str],
    values: &Map<String, Value>,
    schema: &Value,
    root: &Value,
    from: &dyn Fn(&str) -> String,
) {
    let at = |key: &str| [path, &[key]].concat().join(".");
    let named = |key: &str| key_of(&[path, &[key]].concat());
    for (key, value) in values.iter().filter(|(_, value)| !is_of_tables(value)) {
        let property = property(schema, root, key);
        document(out, property, root);
        let secret = !is_chosen(schema, root) && SECRET_WORDS.iter().any(|word| key.contains(word));
        let secret = secret && value.as_str() != Some("");
        let value = if secret { format!("{REDACTED:?}") } else { value.to_string() };
        out.push_str(&format!("{} = {value} # {}\n", key_of(&[key]), from(&at(key))));
    }
    for (key, value) in values.iter().filter(|(_, value)| is_of_tables(value)) {
        let property = property(schema, root, key);
        let schema = property.unwrap_or(&Value::Null);
        let inner = [path, &[key.as_str()]].concat();
        out.push('\n');
        document(out, property, root);
        match value {
            Value::Array(tables) => {
                let schema = resolve(schema, root).get("items").unwrap_or(&Value::Null);
                // The list comes from one place as a whole.
                let of_list = from(&at(key));
                for values in tables.iter().filter_map(Value::as_object) {
                    out.push_str(&format!("[[{}]]\n", named(key)));
                    table(out, &inner, values, schema, root, &|_: &str| of_list.clone());
                }
            }
            Value::Object(values) => {
                out.push_str(&format!("[{}]\n", named(key)));
                table(out, &inner, values, schema, root, from);
            }
            _ => {}
        }
    }
}

/// A key of TOML, each of its parts in quotes where it has to be.
fn key_of(parts: &[&str]) -> String {
    let is_bare =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    let part = |part: &&str| if is_bare(part) { (*part).to_owned() } else { Value::from(*part).to_string() };
    parts.iter().map(part).collect::<Vec<_>>().join(".")
}

/// Whether a value is a table or a list of tables, which stand behind all plain values.
fn is_of_tables(value: &Value) -> bool {
    value.is_object() || value.as_array().is_some_and(|items| items.first().is_some_and(Value::is_object))
}

/// Whether people choose the keys of a table, such as the subjects that have a role: they say nothing of their values.
fn is_chosen(table: &Value, root: &Value) -> bool {
    resolve(table, root).get("additionalProperties").is_some_and(Value::is_object)
}

/// Writes the doc comment of a setting.
fn document(out: &mut String, property: Option<&Value>, root: &Value) {
    for line in documentation(property, root).lines() {
        out.push_str(&format!("# {line}\n"));
    }
}

/// The schema that `schema` refers to.
fn resolve<'s>(schema: &'s Value, root: &'s Value) -> &'s Value {
    match schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#')) {
        Some(pointer) => root.pointer(pointer).unwrap_or(schema),
        None => schema,
    }
}

/// The schema of a key of a table: its own, or that of all keys where people choose their names.
fn property<'s>(schema: &'s Value, root: &'s Value, key: &str) -> Option<&'s Value> {
    let schema = resolve(schema, root);
    let own = schema.get("properties").and_then(|properties| properties.get(key));
    own.or_else(|| schema.get("additionalProperties").filter(|of_all| of_all.is_object()))
}

/// The doc comment of a setting.
fn documentation<'s>(property: Option<&'s Value>, root: &'s Value) -> &'s str {
    let Some(property) = property else { return "" };
    let text = |schema: &'s Value| schema.get("description").and_then(Value::as_str);
    text(property).or_else(|| text(resolve(property, root))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use figment::providers::{Format, Toml};

    use super::*;

    #[test]
    fn a_list_of_tables_is_printed_as_it_is_read() {
        let text = "[[users.shards.databases]]\nid = 0\nname = \"a\"\nurl = \"postgres://u:hidden@h/a\"\n\n\
                    [[users.shards.databases]]\nid = 3\nname = \"b\"\nurl = \"postgres://h/b\"\n";
        let defaults = || Figment::from(figment::providers::Serialized::defaults(Settings::in_folder(Path::new("d"))));
        let read = |text: &str| defaults().merge(Toml::string(text));
        let settings: Settings = read(text).extract().unwrap();
        let printed = render(&settings, &read(text)).unwrap();
        assert_eq!(printed.matches("[[users.shards.databases]]").count(), 2, "{printed}");
        assert!(!printed.contains("hidden"), "{printed}");
        let again: Settings = read(&printed).extract().unwrap();
        let databases: Vec<_> = again.users.shards.databases.iter().map(|it| (it.id, it.name.as_str())).collect();
        assert_eq!(databases, [(0, "a"), (3, "b")]);
    }

    #[test]
    fn what_stands_under_a_name_that_people_choose_has_its_meaning_too() {
        let text = "[gateway.rate_limit.plans.partner]\nburst = 7\nper_second = 1.0\n";
        let defaults = || Figment::from(figment::providers::Serialized::defaults(Settings::in_folder(Path::new("d"))));
        let read = defaults().merge(Toml::string(text));
        let printed = render(&read.extract().unwrap(), &read).unwrap();
        let (_, plan) = printed.split_once("[gateway.rate_limit.plans.partner]\n").unwrap();
        let (_, before) = plan.split_once("address_share = true").unwrap();
        assert!(before.contains("\n# How many calls at once, after a pause.\nburst = 7 # "), "{printed}");
    }

    #[test]
    fn keys_that_are_not_bare_are_printed_in_quotes() {
        let text = "[[users.issuers]]\nissuer = \"https://a.example\"\naudiences = [\"shop\"]\n\
                    [users.issuers.roles]\n\"auth0|anna \\\"k\\\"\" = \"staff\"\nbert = \"customer\"\n\
                    \"auth0|secretary\" = \"customer\"\n";
        let defaults = || Figment::from(figment::providers::Serialized::defaults(Settings::in_folder(Path::new("d"))));
        let read = |text: &str| defaults().merge(Toml::string(text));
        let settings: Settings = read(text).extract().unwrap();
        let printed = render(&settings, &read(text)).unwrap();
        assert!(printed.contains("\nbert = \"customer\" # "), "{printed}");
        let again: Settings = read(&printed).extract().unwrap();
        assert_eq!(again.users.issuers[0].roles, settings.users.issuers[0].roles);
        assert_eq!(again.users.issuers[0].roles.len(), 3);
    }
}
