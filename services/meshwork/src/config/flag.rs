//! A setting by a flag.

use figment::providers::Serialized;
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

/// A setting by a flag.
pub struct Flag {
    key: &'static str,
    flag: &'static str,
    value: Value,
}

impl Flag {
    /// The flag `flag` sets `key` to `value`.
    pub fn new(key: &'static str, flag: &'static str, value: impl Into<Value>) -> Self {
        Self { key, flag, value: value.into() }
    }
}

impl Provider for Flag {
    fn metadata(&self) -> Metadata {
        Metadata::named(format!("flag {}", self.flag))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Serialized::default(self.key, &self.value).data()
    }
}
