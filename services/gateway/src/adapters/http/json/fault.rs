//! What is wrong with a request, and where.

use std::fmt::Display;

use meshwork_aip::Violations;
use tonic::Status;

use crate::adapters::errors::DOMAIN;

/// What the caller sees as the place of a fault that no field has.
pub(super) const BODY: &str = "body";

/// A field, parameter or header is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Its path, such as `order.lines[0].quantity`, or the name of the parameter or header.
    pub(super) field: String,
    /// What would be right.
    pub(super) description: String,
}

impl Fault {
    /// What callers have sent belongs into either by [`echo`](meshwork_aip::echo()) only.
    pub(super) fn new(field: impl Display, description: impl Display) -> Self {
        Self { field: field.to_string(), description: description.to_string() }
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let mut violations = Violations::new();
        violations.add(&fault.field, &fault.description);
        match violations.finish(DOMAIN) {
            Err(status) => status,
            Ok(()) => Status::invalid_argument(fault.description),
        }
    }
}
