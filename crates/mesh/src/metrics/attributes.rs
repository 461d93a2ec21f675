//! The attributes of measurements.

use std::sync::{Arc, OnceLock};

use opentelemetry::{KeyValue, Value};
use tonic::Code;

use crate::outcome::CODE_NAMES;

/// The name of all methods that nobody but a caller has named (gRFC A66).
pub(super) const OTHER: &str = "other";

/// An attribute of a text that many measurements share.
pub(super) fn attribute(key: &'static str, value: &str) -> KeyValue {
    KeyValue::new(key, Value::from(Arc::<str>::from(value)))
}

/// The attributes of the measurements of one method. They are made once: a measurement allocates none.
pub(super) struct MethodAttributes {
    method: Vec<KeyValue>,
    /// With the status, by its number.
    by_code: [OnceLock<Vec<KeyValue>>; CODE_NAMES.len()],
}

impl MethodAttributes {
    /// Of the method at `path`, or of [`OTHER`], beside the attributes `common` of all methods.
    pub(super) fn new(common: &[KeyValue], path: &str) -> Self {
        let name = path.strip_prefix('/').unwrap_or(path);
        let method = common.iter().cloned().chain([attribute("grpc.method", name)]).collect();
        Self { method, by_code: Default::default() }
    }

    /// Without a status.
    pub(super) fn method(&self) -> &[KeyValue] {
        &self.method
    }

    /// With the status `code`.
    pub(super) fn ended(&self, code: Code) -> &[KeyValue] {
        let number = code as usize;
        self.by_code[number].get_or_init(|| {
            let status = KeyValue::new("grpc.status", CODE_NAMES[number]);
            self.method.iter().cloned().chain([status]).collect()
        })
    }
}
