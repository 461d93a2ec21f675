//! Which methods may be repeated, by what their descriptors declare.

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::method_options::IdempotencyLevel;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet, MethodDescriptorProto};

use super::RetryPolicy;

/// The methods of a descriptor set that may be repeated: those that declare the `idempotency_level` NO_SIDE_EFFECTS,
/// and those that declare IDEMPOTENT and whose request is one message with a string field `request_id` (AIP-155) at its
/// top level. Without such a field a server can't know a call with side effects again: a second attempt after an answer
/// that was lost could do it twice.
#[derive(Clone, Debug, PartialEq)]
pub struct Descriptors {
    methods: Vec<(Box<str>, Option<u32>)>,
    policy: Arc<RetryPolicy>,
}

impl Descriptors {
    /// Reads an encoded `FileDescriptorSet`.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(set: &[u8]) -> Result<Self, prost::DecodeError> {
        let set = FileDescriptorSet::decode(set)?;
        let ids = request_ids(&set);
        let mut methods = Vec::new();
        for file in &set.file {
            let package = file.package();
            let dot = if package.is_empty() { "" } else { "." };
            for service in &file.service {
                for method in &service.method {
                    let Some(id) = repeatable(method, &ids) else { continue };
                    let path = format!("/{package}{dot}{}/{}", service.name(), method.name());
                    methods.push((path.into(), id));
                }
            }
        }
        Ok(Self { methods, policy: Arc::default() })
    }

    /// The methods that may be repeated, `/package.Service/Method`.
    pub fn idempotent(&self) -> impl Iterator<Item = &str> {
        self.methods.iter().map(|(path, _)| path.as_ref())
    }

    /// The same, each with the number of the field of its request id, which it must have to be repeated; none for one
    /// that has no side effects.
    pub(super) fn methods(&self) -> impl Iterator<Item = (&str, Option<u32>)> {
        self.methods.iter().map(|(path, id)| (path.as_ref(), *id))
    }

    /// How they are repeated.
    pub(super) fn policy(&self) -> &Arc<RetryPolicy> {
        &self.policy
    }
}

/// None for a method that may not be repeated; else the number of its request id, if it needs one.
fn repeatable(method: &MethodDescriptorProto, ids: &HashMap<String, u32>) -> Option<Option<u32>> {
    match method.options.as_ref()?.idempotency_level() {
        // A stream that was read in part is not the same when it is read again; A6 commits it, so it is safe.
        IdempotencyLevel::NoSideEffects => Some(None),
        IdempotencyLevel::Idempotent if !method.client_streaming() => ids.get(method.input_type()).copied().map(Some),
        IdempotencyLevel::Idempotent | IdempotencyLevel::IdempotencyUnknown => None,
    }
}

/// The number of the field `request_id` of each message that has one, by the message's name, `.package.Message`.
fn request_ids(set: &FileDescriptorSet) -> HashMap<String, u32> {
    let mut ids = HashMap::new();
    let mut messages: Vec<(String, &DescriptorProto)> = Vec::new();
    for file in &set.file {
        let dot = if file.package().is_empty() { "" } else { "." };
        let scope = format!("{dot}{}", file.package());
        messages.extend(file.message_type.iter().map(|message| (format!("{scope}.{}", message.name()), message)));
        while let Some((name, message)) = messages.pop() {
            messages.extend(message.nested_type.iter().map(|nested| (format!("{name}.{}", nested.name()), nested)));
            if let Some(number) = message.field.iter().find_map(request_id) {
                ids.insert(name, number);
            }
        }
    }
    ids
}

/// The number of a field that is a request id. One of several members is none: to fill it in would clear another.
fn request_id(field: &FieldDescriptorProto) -> Option<u32> {
    let is_alone = field.oneof_index.is_none() || field.proto3_optional();
    let is_text = field.r#type() == Type::String && field.label() != Label::Repeated;
    let is_id = field.name() == "request_id" && is_text && is_alone;
    is_id.then(|| u32::try_from(field.number()).ok()).flatten()
}
