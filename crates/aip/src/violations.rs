//! Checks of request fields. All faults of a request are gathered and answered together.

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::bounded::bounded;
use crate::name::{is_chosen_id, is_uuid};
use crate::request::RequestId;

/// The reason in `google.rpc.ErrorInfo` of a status for wrong fields.
pub const REASON: &str = "INVALID_FIELDS";
/// How many faults of a request are told.
pub const MAX_VIOLATIONS: usize = 20;
/// The most bytes of a field's path.
const MAX_FIELD: usize = 96;
/// The most bytes of a description; one with a caller's text of 64 characters fits.
const MAX_DESCRIPTION: usize = 360;
/// The most bytes of the domain: those of a name in DNS.
const MAX_DOMAIN: usize = 253;
/// The most bytes of all fields and descriptions. With the message, which repeats the first of them, and what else a
/// status has, it stays below the 8 KiB of header fields that gRPC asks peers to take: there the details are base64, four
/// bytes for three, and what is not plain in the message takes three bytes for one.
const MAX_BYTES: usize = 3300;

/// The faults found in a request so far. The first 20 are told, and fewer when they are long; of what comes behind them
/// the number is.
#[derive(Debug, Default)]
pub struct Violations {
    /// The first faults: field and description.
    told: Vec<(String, String)>,
    /// The bytes of `told`.
    bytes: usize,
    /// How many there are, those of `told` among them.
    found: usize,
}

impl Violations {
    /// No faults yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a fault: the field's path, such as `order.lines[0].quantity`, and what would be right. A path is cut at 96
    /// bytes and a description at 360; what a caller has sent belongs into either by [`echo`](crate::echo()) only.
    ///
    /// A fault that won't be told is not even printed, and costs nothing.
    pub fn add(&mut self, field: impl Display, description: impl Display) {
        self.found += 1;
        // After the first that isn't told none is, so that those that are told are the first.
        if self.told.len() + 1 < self.found || self.told.len() == MAX_VIOLATIONS {
            return;
        }
        let fault = (bounded(field, MAX_FIELD), bounded(description, MAX_DESCRIPTION));
        let bytes = self.bytes + fault.0.len() + fault.1.len();
        if bytes <= MAX_BYTES {
            self.bytes = bytes;
            self.told.push(fault);
        }
    }

    /// Adds a fault unless `holds`.
    pub fn check(&mut self, holds: bool, field: &str, description: impl Display) {
        if !holds {
            self.add(field, description);
        }
    }

    /// A text of `min` to `max` characters without control characters (line breaks and tabs are allowed).
    pub fn text(&mut self, value: &str, field: &str, min: usize, max: usize) {
        let range = if min == 0 { format!("at most {max}") } else { format!("{min} to {max}") };
        // A character has at most four bytes: so much can't be right, and is not looked at.
        if value.len() > max.saturating_mul(4) {
            return self.add(field, format_args!("must have {range} characters"));
        }
        let length = value.trim().chars().count();
        if value.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            self.add(field, "must not contain control characters");
        } else if length < min || value.chars().count() > max {
            self.add(field, format_args!("must have {range} characters"));
        }
    }

    /// A name of the kind that is expected.
    pub fn name<N>(&mut self, value: &str, field: &str) -> Option<N>
    where
        N: FromStr<Err: Display>,
    {
        match value.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                self.add(field, error);
                None
            }
        }
    }

    /// An id that the caller chose: 4 to 63 of a-z, 0-9 and `-`, starting with a letter and not ending with `-`, or a
    /// lower-case UUID.
    pub fn chosen_id(&mut self, id: &str, field: &str) {
        self.check(
            is_chosen_id(id),
            field,
            "must be 4 to 63 of a-z, 0-9 and `-`, starting with a letter and not ending with `-`, or a lower-case UUID",
        );
    }

    /// A lower-case UUID, but not the nil one.
    pub fn uuid(&mut self, value: &str, field: &str) {
        self.check(is_uuid(value), field, "must be a UUID in lower case, like 7f1c2c3e-4a0b-4c53-9d0e-2f6f0a1b2c3d");
    }

    /// A request id (AIP-155), `None` when it is empty: a UUID of any version and in any case.
    pub fn request_id(&mut self, value: &str) -> Option<RequestId> {
        if value.is_empty() { None } else { self.name(value, "request_id") }
    }

    /// How many faults there are so far.
    pub fn count(&self) -> usize {
        self.found
    }

    /// Ends the check.
    ///
    /// # Errors
    /// INVALID_ARGUMENT with the first faults, when there is one. The message, the last fault's description and the metadata
    /// `unlisted` say how many more there are.
    pub fn finish(mut self, domain: &str) -> Result<(), Status> {
        let unlisted = self.found - self.told.len();
        let Some((field, description)) = self.told.first() else { return Ok(()) };
        let (mut message, field) = (format!("{field} {description}"), field.clone());
        let mut metadata = HashMap::from([("field".to_owned(), field)]);
        if unlisted > 0 {
            let more = match unlisted {
                1 => "; 1 more fault of the request is not listed".to_owned(),
                _ => format!("; {unlisted} more faults of the request are not listed"),
            };
            message += &more;
            if let Some((_, last)) = self.told.last_mut() {
                *last += &more;
            }
            metadata.insert("unlisted".to_owned(), unlisted.to_string());
        }
        let mut details = ErrorDetails::with_error_info(REASON, bounded(domain, MAX_DOMAIN), metadata);
        let told = self.told.into_iter();
        let told = told.map(|(field, description)| FieldViolation { field, description, ..Default::default() });
        details.set_bad_request(told.collect::<Vec<_>>());
        Err(Status::with_error_details(Code::InvalidArgument, message, details))
    }
}
