//! The file's keys.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::adapters::contracts::shown;
use crate::domain::InvalidRoutes;

/// Routes, as a file of TOML has them. No file, or an empty one: each method goes to the service of the shop that has it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Document {
    /// Upstreams beside `users`, `products`, `orders` and `notifications`, by their names: 1 to 63 of a-z, 0-9 and `-`. 64 at
    /// most.
    pub upstreams: BTreeMap<String, UpstreamTable>,
    /// Where calls go, 1,000 at most. The first that matches a call holds; one that none matches goes to the upstream that offers
    /// its service.
    pub routes: Vec<RouteTable>,
}

/// An upstream.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpstreamTable {
    /// Where it is: a gRPC target such as `dns:///HOST:PORT`, or `http://HOST:PORT`. It is called as the shop's services are, by
    /// the gateway's `client` settings.
    pub target: String,
    /// A file with its contracts, an encoded `FileDescriptorSet` of at most 16 MiB; a relative path is one from the folder of
    /// this file. Not set: they are asked by reflection (v1, else v1alpha), if `services` or `access` name any.
    pub descriptors: Option<PathBuf>,
    /// The full names of its services that are offered. Not set: all that `descriptors` have, but health and reflection; without
    /// those, all that `access` names.
    #[serde(default)]
    pub services: Vec<String>,
    /// Whom methods admit, by `package.Service` or `package.Service/Method`; the most exact name holds. It comes before what
    /// the options `meshwork.options.v1.access` in `descriptors` say; those got by reflection say nothing. A method that has
    /// neither is refused to everybody.
    #[serde(default)]
    pub access: BTreeMap<String, Vec<Caller>>,
    /// How the paths begin by which its methods are called over HTTP/JSON, such as `/weather/v1/`; 64 at most. What else its
    /// contracts say of paths (`google.api.http`) is left out. Not set: all that `descriptors` say, and none of those got by
    /// reflection. Where the shop's own methods are, as below `/v1/orders`, and at `/docs` and `/openapi.json`, no upstream has any.
    pub http_paths: Option<Vec<String>>,
    /// Whether its servers are asked for their health (`grpc.health.v1`), so that one that is not serving gets no calls. Not set: if
    /// it has neither `services` nor `access`, as another instance of the shop's, or if `descriptors` have that service.
    pub health: Option<bool>,
}

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Caller {
    /// Everybody, with or without a token.
    Anyone,
    /// Every account.
    SignedIn,
    /// Accounts of customers.
    Customer,
    /// Accounts of the staff.
    Staff,
    /// Accounts of services.
    Service,
}

/// Where some calls go.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteTable {
    /// The full name of the service.
    pub service: String,
    /// The method. Not set: all of the service.
    pub method: Option<String>,
    /// Headers that a call must have, all of them, by their names in lower case: a text is the exact value, `{ prefix = "…" }` its
    /// beginning, `{ present = true }` any, `{ present = false }` none. Credentials, headers of bytes (`-bin`), and those of gRPC
    /// or of the connection can't be asked for. 16 at most.
    #[serde(default)]
    pub headers: BTreeMap<String, HeaderValue>,
    /// Who answers: one, or several by weight, 16 at most. Not set: the upstream that offers the service; `mirror` is set then.
    pub to: Option<Vec<TargetTable>>,
    /// `"caller"`: the calls of one account, or of one address without an account, go to one upstream as long as the weights stay,
    /// and that in all routes. Not set: each call goes by chance.
    pub sticky: Option<Sticky>,
    /// Who gets copies of calls; nobody waits for them or reads their answers. 4 at most.
    #[serde(default)]
    pub mirror: Vec<MirrorTable>,
}

/// By what a caller's calls stay together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Sticky {
    /// By account, else by address.
    Caller,
}

/// Who answers calls.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TargetTable {
    /// The name of the upstream.
    pub upstream: String,
    /// Its weight, of all weights of the route together; 1 unless set, 1,000,000 at most. 0: it gets none.
    #[serde(default = "one")]
    pub weight: u32,
}

/// Who gets copies of calls.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MirrorTable {
    /// The name of the upstream.
    pub upstream: String,
    /// How many of a hundred calls, such as 2.5; 100 unless set.
    #[serde(default = "all")]
    pub percent: f64,
    /// Whether copies have the caller's credentials, as `authorization`. Unless it is so, a mirror that asks for them refuses
    /// the copies.
    #[serde(default)]
    pub keep_authorization: bool,
    /// Whether methods that change something are copied as well. Unless it is so, only those are whose `idempotency_level` is
    /// `NO_SIDE_EFFECTS`.
    #[serde(default)]
    pub side_effects: bool,
}

const fn one() -> u32 {
    1
}

const fn all() -> f64 {
    100.0
}

/// What a header must be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderValue {
    Exact(String),
    Prefix(String),
    Present(bool),
}

impl<'de> Deserialize<'de> for HeaderValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// One of the keys.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Keys {
            prefix: Option<String>,
            present: Option<bool>,
        }

        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = HeaderValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, { prefix = \"…\" } or { present = true }")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<HeaderValue, E> {
                Ok(HeaderValue::Exact(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HeaderValue, A::Error> {
                match Keys::deserialize(MapAccessDeserializer::new(map))? {
                    Keys { prefix: Some(prefix), present: None } => Ok(HeaderValue::Prefix(prefix)),
                    Keys { prefix: None, present: Some(present) } => Ok(HeaderValue::Present(present)),
                    Keys { .. } => Err(A::Error::custom("a header must have one of `prefix` and `present`")),
                }
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl Document {
    /// The document in `text`.
    pub(super) fn parse(text: &str) -> Result<Self, InvalidRoutes> {
        toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
            let place = match misread_key(text) {
                Some(key) => format!("line {line}: {key}"),
                None => format!("line {line}"),
            };
            InvalidRoutes::new(place, format!("can't be understood: {}", error.message().trim()))
        })
    }
}

/// The key in `text` whose value is of a wrong type; `None` where it is no TOML, or wrong at its top. Errors tell keys only of what has
/// no place in a text.
fn misread_key(text: &str) -> Option<String> {
    let values: toml::Table = toml::from_str(text).ok()?;
    let error = toml::Value::Table(values).try_into::<Document>().err()?.to_string();
    let (_, key) = error.rsplit_once("\nin `")?;
    Some(shown(key.trim_end().trim_end_matches('`')))
}
