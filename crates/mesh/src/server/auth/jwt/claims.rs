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

    /// The words of `scope` (RFC 8693, section 4.2). `None` when it is absent.
    ///
    /// # Errors
    /// When it is there and no text.
    pub(super) fn scopes(&self) -> Result<Option<impl Iterator<Item = &str>>, ()> {
        let scope = self.get("scope").map(|scope| scope.as_str().ok_or(())).transpose()?;
        Ok(scope.map(str::split_ascii_whitespace))
    }

    /// The subject, `sub`.
    pub fn subject(&self) -> Option<&str> {
        self.text("sub")
    }

    /// The principal by the usual claims: `sub`; and as its roles the text `role`, the texts of the list `roles`, and the
    /// words of `scope` (RFC 8693 §4.2), whichever are there; and its session by `sid`. `None` without a subject.
    pub fn principal(&self) -> Option<Principal> {
        let list = self.get("roles").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let scopes = self.text("scope").into_iter().flat_map(str::split_ascii_whitespace);
        let principal = Principal::new(self.subject()?, self.text("role").into_iter().chain(list).chain(scopes));
        Some(match self.text("sid") {
            Some(session) => principal.with_session(session),
            None => principal,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn d5_a_principal_is_of_the_session_that_its_token_names() {
        for (sid, session) in [(json!("s-1"), Some("s-1")), (json!(7), None), (json!(null), None)] {
            let claims = json!({"sub": "anna", "role": "staff", "sid": sid});
            let claims = claims.as_object().cloned().expect("an object");
            let principal = Claims::new(claims).principal().expect("a subject");
            assert_eq!((principal.session(), principal.has_role("staff")), (session, true));
        }
    }
}
