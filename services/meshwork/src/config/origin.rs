//! Where a setting comes from.

use figment::{Figment, Metadata};

/// The origin of what nobody has set.
const DEFAULT: &str = "default";

/// Whether somebody has set `key`, though it be to the default.
pub fn is_set(settings: &Figment, key: &str) -> bool {
    settings.find_metadata(key).is_some_and(|metadata| origin(metadata) != DEFAULT)
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
        DEFAULT.to_owned()
    }
}
