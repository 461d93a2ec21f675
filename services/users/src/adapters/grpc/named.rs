//! Fields that name what a request is about.

use std::fmt::Display;
use std::str::FromStr;

use meshwork_aip::Violations;
use tonic::Status;

use crate::adapters::errors::DOMAIN;

/// The resource that a field names.
///
/// # Errors
/// INVALID_ARGUMENT when it names none.
pub(super) fn named<N: FromStr<Err: Display>>(name: &str, field: &str) -> Result<N, Status> {
    let mut violations = Violations::new();
    let named = violations.name(name, field);
    violations.finish(DOMAIN)?;
    named.ok_or_else(|| meshwork_chassis::errors::internal(DOMAIN, &"a name is missing without a violation"))
}
