//! Where a port listens that need not be.

use std::fmt;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Listen;

/// As [`Listen`], or nowhere, which is an empty text.
#[derive(Clone, Debug, Default, JsonSchema)]
#[schemars(with = "String")]
pub struct OptionalListen(Option<Listen>);

impl OptionalListen {
    /// Where, if anywhere.
    pub fn get(&self) -> Option<&Listen> {
        self.0.as_ref()
    }
}

impl From<Listen> for OptionalListen {
    fn from(listen: Listen) -> Self {
        Self(Some(listen))
    }
}

impl Serialize for OptionalListen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(listen) => listen.serialize(serializer),
            None => serializer.serialize_str(""),
        }
    }
}

impl<'de> Deserialize<'de> for OptionalListen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Address;

        impl Visitor<'_> for Address {
            type Value = OptionalListen;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // As the standard library calls it, so that refusals say the same of both kinds.
                f.write_str("socket address")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<OptionalListen, E> {
                if text.is_empty() {
                    return Ok(OptionalListen(None));
                }
                let address: SocketAddr = text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))?;
                Ok(Listen::from(address).into())
            }
        }

        deserializer.deserialize_str(Address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nowhere_is_an_empty_text_and_anywhere_an_address() {
        let read = |text: &str| serde_json::from_str::<OptionalListen>(text);
        assert!(read("\"\"").unwrap().get().is_none());
        for address in ["0.0.0.0:9091", "[::]:9091"] {
            let listen = read(&format!("{address:?}")).unwrap();
            assert_eq!(listen.get().unwrap().address().to_string(), address);
            assert_eq!(serde_json::to_string(&listen).unwrap(), format!("{address:?}"));
        }
        assert_eq!(serde_json::to_string(&OptionalListen::default()).unwrap(), "\"\"");
        for wrong in ["\"9091\"", "9091", "\"localhost:9091\"", "{}"] {
            let refused = read(wrong).unwrap_err().to_string();
            assert!(refused.contains("expected socket address"), "{refused}");
        }
    }
}
