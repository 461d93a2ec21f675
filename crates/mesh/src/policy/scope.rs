//! What an entry of `methodConfig` is for: methods, services, or whatever no other entry names.

use super::json::{Node, PolicyError};

/// One name of an entry (gRPC's service config, `MethodConfig.Name`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All methods that no other name is for.
    Default,
    /// `package.Service`: its methods that have no name of their own.
    Service(Box<str>),
    /// `/package.Service/Method`.
    Method(Box<str>),
}

impl Scope {
    /// Reads a name: an object with `service` and `method`, of which both, the second or none may be left out.
    pub(crate) fn read(name: &Node<'_>) -> Result<Self, PolicyError> {
        let text = |field| -> Result<String, PolicyError> {
            Ok(name.get(field)?.map(|node| node.string().map(str::to_owned)).transpose()?.unwrap_or_default())
        };
        let (service, method) = (text("service")?, text("method")?);
        match (service.is_empty(), method.is_empty()) {
            (true, false) => Err(name.error(format!("the method {method:?} has no service"))),
            (true, true) => Ok(Self::Default),
            (false, true) => Ok(Self::Service(service.into())),
            (false, false) => Ok(Self::Method(format!("/{service}/{method}").into())),
        }
    }

    /// The error of a name that another entry, or the same one, has already.
    pub(crate) fn duplicate(name: &Node<'_>) -> PolicyError {
        name.error("appears a second time; a name may be in one entry only")
    }
}
