//! Policies: the gRPC service config and what stands beside it under one `meshwork` key.
//!
//! A [`Policy`] is what a channel runs by. It comes from JSON ([`Policy::parse`]), from a file that is watched
//! ([`PolicyFile`]) or from code ([`Policy::builder`]). Standard parts follow gRFC A2, A6, A17, A21, A48 and A50: what is
//! known must be valid, or all of it is refused; what is not known is passed over. Under `meshwork` nothing is passed over.

mod builder;
mod descriptors;
mod file;
pub(crate) mod json;
mod model;
mod parse;
mod parse_balancing;
mod parse_meshwork;
mod parts;
pub(crate) mod scope;
#[cfg(test)]
mod tests;
pub(crate) mod unique;

use std::sync::Arc;

pub use builder::PolicyBuilder;
pub use descriptors::Descriptors;
pub use file::PolicyFile;
pub use json::PolicyError;
pub use model::*;

use self::parts::Parts;

/// What a channel runs by: a gRPC service config with its `meshwork` parts. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy(Arc<Parts>);

impl Policy {
    /// Parses a gRPC service config.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use meshwork::policy::Policy;
    ///
    /// let policy = Policy::parse(r#"{"methodConfig": [{"name": [{"service": "users.v1.UserService"}], "timeout": "2s"}]}"#)?;
    /// assert_eq!(policy.method("/users.v1.UserService/GetUser").timeout, Some(Duration::from_secs(2)));
    /// # Ok::<(), meshwork::policy::PolicyError>(())
    /// ```
    ///
    /// # Errors
    /// When a known field is not valid; the message names its path, its value and what would be right.
    pub fn parse(json: &str) -> Result<Self, PolicyError> {
        parse::policy(json).map(|parts| Self(Arc::new(parts)))
    }

    /// What holds for the channel as a whole.
    pub fn channel(&self) -> &ChannelPolicy {
        &self.0.channel
    }

    /// What holds for a method, `/package.Service/Method`: its own entry, else that of its service, else the default.
    pub fn method(&self, path: &str) -> &Arc<MethodPolicy> {
        let parts = &*self.0;
        if parts.methods.is_empty() && parts.services.is_empty() {
            return &parts.default;
        }
        if let Some(method) = parts.methods.get(path) {
            return method;
        }
        let service = path.strip_prefix('/').and_then(|path| path.rsplit_once('/')).map(|(service, _)| service);
        service.and_then(|service| parts.services.get(service)).unwrap_or(&parts.default)
    }

    /// This policy, with up to three attempts on UNAVAILABLE for methods that may be repeated by their descriptors
    /// ([`Descriptors`]), where it says nothing about repeating them: those with side effects only while their request
    /// has an id. What it says itself holds whether or not there is an id.
    #[must_use]
    pub fn with_descriptors(&self, descriptors: &Descriptors) -> Self {
        let mut parts = (*self.0).clone();
        for (path, number) in descriptors.methods() {
            let mut method = (**self.method(path)).clone();
            let required = method.repeat == Repeat::Once;
            // Of what the policy has repeated itself, the descriptors tell where the id is, once.
            let is_settled = if required { method.says_once } else { number.is_none() || method.request_id.is_some() };
            if is_settled {
                continue;
            }
            if required {
                method.repeat = Repeat::Retry(Arc::clone(descriptors.policy()));
            }
            method.request_id = number.map(|number| RequestIdField { number, required });
            parts.methods.insert(path.into(), Arc::new(method));
        }
        Self(Arc::new(parts))
    }
}
