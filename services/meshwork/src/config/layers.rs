//! Putting the layers of settings together.

use std::path::{Path, PathBuf};

use figment::error::Kind;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::{Figment, Metadata, Profile, Provider};

use super::Settings;
use crate::cli::SettingsArgs;
use crate::failure::Failure;

/// Where everything lies when nobody says otherwise.
const DATA: &str = "meshwork-data";
/// What our variables begin with; `__` stands between the parts of a key.
const PREFIX: &str = "MESHWORK_";

/// Flags of one command that override settings, each with its key.
pub type Flags = Vec<(&'static str, String)>;

/// The settings in force, and where each comes from.
///
/// # Errors
/// When a file can't be read, a key is unknown or a value can't be used; the message names the key, where it stands,
/// the value and what would be right.
pub fn load(args: &SettingsArgs, flags: &Flags) -> Result<(Settings, Figment), Failure> {
    let over = overrides(args, flags)?;
    // Where the folders lie depends on one setting.
    let data = match over.find_value("data") {
        Ok(_) => over.extract_inner::<PathBuf>("data").map_err(|error| refuse(&error))?,
        Err(_) => PathBuf::from(DATA),
    };
    let all = Figment::from(Serialized::defaults(Settings::in_folder(&data))).merge(over);
    let settings = all.extract::<Settings>().map_err(|error| refuse(&error))?;
    Ok((settings, all))
}

fn overrides(args: &SettingsArgs, flags: &Flags) -> Result<Figment, Failure> {
    let mut layers = Figment::new();
    if let Some(file) = &args.config {
        if !file.is_file() {
            let sentence = format!("there is no settings file {}", file.display());
            return Err(Failure::new(sentence, "correct --config or MESHWORK_CONFIG"));
        }
        layers = layers.merge(Toml::file_exact(file));
    }
    layers = layers.merge(environment());
    if let Some(data) = &args.data {
        layers = layers.merge(Flag { key: "data", flag: "--data", value: path_text(data)? });
    }
    for (key, value) in flags {
        let flag = if *key == "ops" { "--ops-port" } else { "--port" };
        layers = layers.merge(Flag { key, flag, value: value.clone() });
    }
    Ok(layers)
}

fn path_text(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Failure::new("the path given by --data is not UTF-8", "choose another folder"))
}

/// Our variables, without those that only tests and the choice of the file need.
fn environment() -> Env {
    Env::prefixed(PREFIX)
        .filter(|key| key != "config" && !key.as_str().to_ascii_lowercase().starts_with("test_"))
        .split("__")
}

/// A setting by a flag.
struct Flag {
    key: &'static str,
    flag: &'static str,
    value: String,
}

impl Provider for Flag {
    fn metadata(&self) -> Metadata {
        Metadata::named(format!("flag {}", self.flag))
    }

    fn data(&self) -> Result<figment::value::Map<Profile, figment::value::Dict>, figment::Error> {
        Serialized::default(self.key, &self.value).data()
    }
}

/// A sentence that names the key, where it stands and what would be right.
fn refuse(error: &figment::Error) -> Failure {
    let mut path = error.path.clone();
    if let Kind::UnknownField(field, _) = &error.kind
        && path.last() != Some(field)
    {
        path.push(field.clone());
    }
    let key = if path.is_empty() { "a setting".to_owned() } else { format!("the setting {}", path.join(".")) };
    let origin = error.metadata.as_ref().map(|metadata| format!(" ({})", origin(metadata))).unwrap_or_default();
    let problem = match &error.kind {
        Kind::UnknownField(_, expected) => format!("is unknown; here may stand: {}", expected.join(", ")),
        Kind::InvalidType(actual, expected) => format!("is {actual}, and must be {expected}"),
        Kind::InvalidValue(actual, expected) => format!("is {actual}, and must be {expected}"),
        Kind::MissingField(field) => format!("lacks {field}"),
        kind => format!("can't be used: {kind}"),
    };
    Failure::new(format!("{key}{origin} {problem}"), "`meshwork config` lists all settings with what they mean")
}

/// Where a setting comes from, in words.
pub fn origin(metadata: &Metadata) -> String {
    if let Some(file) = metadata.source.as_ref().and_then(|source| source.file_path()) {
        format!("file {}", file.display())
    } else if metadata.name.contains("environment") {
        "environment".to_owned()
    } else if metadata.name.starts_with("flag") {
        metadata.name.to_string()
    } else {
        "default".to_owned()
    }
}
