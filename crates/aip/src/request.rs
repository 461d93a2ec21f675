//! Repeatable requests: their id, and a hash of the rest (AIP-155).

use std::fmt;
use std::str::FromStr;

use prost::Message;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The response metadata that marks an answer that was given before.
pub const REPLAY: &str = "idempotent-replay";

/// The id of a request that may come again: a UUID of RFC 9562 of any version, neither the nil nor the max one.
///
/// Any spelling with hyphens is read; it prints in lower case, which is what is to be stored and compared.
///
/// ```
/// use meshwork_aip::request::RequestId;
///
/// let id: RequestId = "7F1C2C3E-4A0B-4C53-9D0E-2F6F0A1B2C3D".parse().unwrap();
/// assert_eq!(id.to_string(), "7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(Uuid);

/// A text is no request id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a UUID like 7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d, neither the nil nor the max one")]
pub struct InvalidRequestId;

impl FromStr for RequestId {
    type Err = InvalidRequestId;

    fn from_str(text: &str) -> Result<Self, InvalidRequestId> {
        // Of the forms that a UUID may have, only the one with hyphens has this length.
        let id = (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten();
        id.filter(|id| !id.is_nil() && !id.is_max()).map(Self).ok_or(InvalidRequestId)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.hyphenated())
    }
}

/// SHA-256 of a request. The caller empties the request id first, and whatever must not be hashed (passwords).
///
/// Equal messages have equal bytes only if they have no maps but sorted ones (`BTreeMap`).
pub fn hash(request: &impl Message) -> [u8; 32] {
    Sha256::digest(request.encode_to_vec()).into()
}

/// Marks a response as an answer that was given before.
pub fn mark_replay<T>(response: &mut tonic::Response<T>) {
    response.metadata_mut().insert(REPLAY, tonic::metadata::MetadataValue::from_static("true"));
}
