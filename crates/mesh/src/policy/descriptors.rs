//! Which methods may be repeated, by what their descriptors declare.

use std::sync::Arc;

use prost::Message as _;
use prost_types::FileDescriptorSet;
use prost_types::method_options::IdempotencyLevel;

use super::RetryPolicy;

/// The methods of a descriptor set that declare an `idempotency_level`: NO_SIDE_EFFECTS or IDEMPOTENT.
#[derive(Clone, Debug, PartialEq)]
pub struct Descriptors {
    idempotent: Vec<Box<str>>,
    policy: Arc<RetryPolicy>,
}

impl Descriptors {
    /// Reads an encoded `FileDescriptorSet`.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(set: &[u8]) -> Result<Self, prost::DecodeError> {
        let mut idempotent = Vec::new();
        for file in FileDescriptorSet::decode(set)?.file {
            let package = file.package().to_owned();
            for service in &file.service {
                let dot = if package.is_empty() { "" } else { "." };
                for method in &service.method {
                    let level = method
                        .options
                        .as_ref()
                        .map_or(IdempotencyLevel::IdempotencyUnknown, |options| options.idempotency_level());
                    // A stream that was read in part is not the same when it is read again; A6 commits it, so it is safe.
                    if level != IdempotencyLevel::IdempotencyUnknown {
                        let path = format!("/{package}{dot}{}/{}", service.name(), method.name());
                        idempotent.push(path.into());
                    }
                }
            }
        }
        Ok(Self { idempotent, policy: Arc::default() })
    }

    /// The methods, `/package.Service/Method`.
    pub fn idempotent(&self) -> impl Iterator<Item = &str> {
        self.idempotent.iter().map(AsRef::as_ref)
    }

    /// How they are repeated.
    pub(super) fn policy(&self) -> &Arc<RetryPolicy> {
        &self.policy
    }
}
