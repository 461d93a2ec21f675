//! What a token says.

use serde_json::{Map, Value};

use crate::server::auth::Principal;

/// The claims of a token whose signature, issuer, audience and times were found good.
#[derive(Clone, Debug)]
pub struct Claims(Map<String, Value>);

impl Claims {
    pub(super) fn new(claims: Map<String, Value>) -> Self {
        Self(claims)
    }

    /// The claim `name`, whatever it is.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The claim `name`, if it is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// The claim `name` as a NumericDate (RFC 7519 §2): whole seconds since 1970. `None` when it is absent.
    ///
    /// # Errors
    /// When it is there and no such number.
    pub(super) fn time(&self, name: &str) -> Result<Option<u64>, ()> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match (value.as_u64(), value.as_f64()) {
            (Some(seconds), _) => Ok(Some(seconds)),
            // A fraction of a second is less than any skew of clocks.
            (None, Some(seconds)) if seconds.is_finite() && seconds >= 0.0 => Ok(Some(seconds as u64)),
            _ => Err(()),
        }
    }

    /// The subject, `sub`.
    pub fn subject(&self) -> Option<&str> {
        self.text("sub")
    }

    /// The principal by the usual claims: `sub`; and as its roles the text `role`, the texts of the list `roles`, and the
    /// words of `scope` (RFC 8693 §4.2), whichever are there. `None` without a subject.
    pub fn principal(&self) -> Option<Principal> {
        let list = self.get("roles").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let scopes = self.text("scope").into_iter().flat_map(str::split_ascii_whitespace);
        Some(Principal::new(self.subject()?, self.text("role").into_iter().chain(list).chain(scopes)))
    }
}
