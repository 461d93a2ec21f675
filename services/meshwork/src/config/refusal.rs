//! What is wrong with a setting, in words.

use figment::error::{Actual, Kind};
use figment::{Error, Figment};

use super::origin::origin;
use crate::failure::Failure;

/// What the standard library calls an address.
const SOCKET_ADDRESS: &str = "socket address";
/// The word in the key of a value that no message shows.
const PASSWORD: &str = "password";
const HOST_PORT: &str = "HOST:PORT, where HOST is an IP address";

/// A sentence that names the key, where it stands, its value and what would be right.
pub fn refuse(error: &Error, settings: &Figment) -> Failure {
    let mut path = error.path.clone();
    if let Kind::UnknownField(field, _) = &error.kind
        && path.last() != Some(field)
    {
        path.push(field.clone());
    }
    let key = if path.is_empty() { "a setting".to_owned() } else { format!("the setting {}", path.join(".")) };
    let origin = error.metadata.as_ref().map(|metadata| format!(" ({})", origin(metadata))).unwrap_or_default();
    let problem = match &error.kind {
        // A password of digits looks like a number.
        Kind::InvalidType(_, expected) if path.last().is_some_and(|key| key.contains(PASSWORD)) => {
            format!("must be {}", wanted(expected))
        }
        Kind::UnknownField(_, expected) => format!("is unknown; here may stand: {}", expected.join(", ")),
        Kind::UnknownVariant(actual, expected) => format!("is {actual:?}, and must be {}", expected.join(" or ")),
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            format!("is {}, and must be {}", shown(actual), wanted(expected))
        }
        Kind::MissingField(field) => format!("lacks {field}"),
        Kind::Message(message) if message.contains(SOCKET_ADDRESS) => {
            let value = settings.find_value(&path.join(".")).ok();
            let value = value.as_ref().and_then(|value| value.as_str()).unwrap_or_default();
            format!("is {value:?}, and must be {HOST_PORT}")
        }
        kind => format!("can't be used: {kind}"),
    };
    Failure::new(format!("{key}{origin} {problem}"), "`meshwork config` lists all settings with what they mean")
}

/// A value as people write it.
fn shown(actual: &Actual) -> String {
    match actual {
        Actual::Bool(value) => value.to_string(),
        Actual::Unsigned(value) => value.to_string(),
        Actual::Signed(value) => value.to_string(),
        Actual::Float(value) => value.to_string(),
        // Whoever puts a URL where a table must stand may have put a password into it.
        Actual::Str(value) if value.contains("://") && value.contains('@') => "a URL".to_owned(),
        Actual::Str(value) => format!("{value:?}"),
        Actual::Map => "a table".to_owned(),
        Actual::Seq => "a list".to_owned(),
        other => other.to_string(),
    }
}

/// What a type of Rust asks for.
fn wanted(expected: &str) -> String {
    let least = if expected.contains("nonzero") { 1 } else { 0 };
    match expected.rsplit(' ').next().unwrap_or_default() {
        "u16" => format!("a whole number from {least} to {}", u16::MAX),
        "u32" => format!("a whole number from {least} to {}", u32::MAX),
        "u64" | "usize" => format!("a whole number of at least {least}"),
        "f32" | "f64" => "a number".to_owned(),
        "address" if expected == SOCKET_ADDRESS => HOST_PORT.to_owned(),
        "duration" => "a duration like \"30s\" or \"5m\"".to_owned(),
        "string" => "a text in quotes".to_owned(),
        "boolean" => "true or false".to_owned(),
        _ if expected.starts_with("struct ") => "a table".to_owned(),
        _ => expected.to_owned(),
    }
}
