//! What identifies a request that may come again: who sends it, its id, and a hash of the rest (AIP-155).

use meshwork_aip::request::{RequestId, hash};
use prost::Message;

use crate::Principal;

/// What identifies a request that may come again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// Who sends it; two principals never share an answer.
    pub principal: String,
    /// The method, such as `CreateUser`.
    pub method: &'static str,
    /// The id that its sender gave it, in lower case.
    pub id: String,
    /// The [`hash`] of the rest.
    pub hash: [u8; 32],
}

impl RequestKey {
    /// The key of a request; `None` when it has no id.
    pub fn of(
        principal: &Principal,
        method: &'static str,
        id: Option<RequestId>,
        request: &impl Message,
    ) -> Option<Self> {
        id.map(|id| Self { principal: principal.key(), method, id: id.to_string(), hash: hash(request) })
    }
}
