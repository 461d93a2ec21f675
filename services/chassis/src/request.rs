//! Repeatable requests: their id, and a hash of the rest (AIP-155).

use prost::Message;
use sha2::{Digest, Sha256};

/// The response metadata that marks an answer that was given before.
pub const REPLAY: &str = "idempotent-replay";

/// SHA-256 of a request. The caller empties the request id first, and whatever must not be hashed (passwords).
pub fn hash(request: &impl Message) -> [u8; 32] {
    // Our messages have no maps but sorted ones, so that equal messages have equal bytes.
    Sha256::digest(request.encode_to_vec()).into()
}

/// Marks a response as an answer that was given before.
pub fn mark_replay<T>(response: &mut tonic::Response<T>) {
    response.metadata_mut().insert(REPLAY, tonic::metadata::MetadataValue::from_static("true"));
}

/// What identifies a request that may come again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// Who sends it; two principals never share an answer.
    pub principal: String,
    /// The method, such as `CreateUser`.
    pub method: &'static str,
    /// The id that its sender gave it.
    pub id: String,
    /// The [`hash`] of the rest.
    pub hash: [u8; 32],
}

impl RequestKey {
    /// The key of a request; `None` when it has no id.
    pub fn of(principal: &crate::Principal, method: &'static str, id: &str, request: &impl Message) -> Option<Self> {
        (!id.is_empty()).then(|| Self { principal: principal.key(), method, id: id.to_owned(), hash: hash(request) })
    }
}
