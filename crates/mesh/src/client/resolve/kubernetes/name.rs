//! What a `k8s:` target names: a service, its namespace and one of its ports.

use std::fmt;

/// The longest DNS label (RFC 1123).
const LONGEST: usize = 63;

/// A service that can't be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the service {service:?} {problem}")]
pub struct ServiceError {
    service: String,
    problem: String,
}

/// `service.namespace:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::client::resolve) struct Service {
    pub name: String,
    /// `None`: the namespace of the client.
    pub namespace: Option<String>,
    /// `None`: the only one.
    pub port: Option<Port>,
}

/// A port as EndpointSlices have it: of the pods, not of the Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::client::resolve) enum Port {
    Number(u16),
    Name(String),
}

impl Service {
    /// Reads `service.namespace:port`; namespace and port may be left out.
    pub(super) fn parse(text: &str) -> Result<Self, ServiceError> {
        Self::read(text).map_err(|problem| ServiceError { service: text.to_owned(), problem })
    }

    /// As [`Service::parse`]; what is wrong is told so that it may follow the text.
    pub(in crate::client::resolve) fn read(text: &str) -> Result<Self, String> {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(Port::read(port)?)),
            None => (text, None),
        };
        let mut labels = host.split('.');
        let (name, namespace) = (labels.next().unwrap_or_default(), labels.next());
        if labels.next().is_some() {
            return Err(format!(
                "has {host:?} where a service and its namespace should be, as in orders.shop; the domain of the cluster \
                 is no part of it"
            ));
        }
        check("service", name)?;
        if let Some(namespace) = namespace {
            check("namespace", namespace)?;
        }
        Ok(Self { name: name.to_owned(), namespace: namespace.map(str::to_owned), port })
    }

    /// `service.namespace`: the authority of calls, and the name that certificates hold.
    pub(in crate::client::resolve) fn host(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{}.{namespace}", self.name),
            None => self.name.clone(),
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host())?;
        match &self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl Port {
    fn read(text: &str) -> Result<Self, String> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return match text.parse::<u16>() {
                Ok(number) if number > 0 => Ok(Self::Number(number)),
                _ => Err(format!("has the port {text:?}; a port is a number from 1 to 65535, or a name")),
            };
        }
        check("port", text)?;
        Ok(Self::Name(text.to_owned()))
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Kubernetes' names for these are DNS labels; what isn't one would only be refused later, or select something else.
fn check(what: &str, label: &str) -> Result<(), String> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = !label.is_empty()
        && label.len() <= LONGEST
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-');
    if is_label {
        return Ok(());
    }
    Err(format!(
        "has {label:?} as the name of its {what}, which must be up to {LONGEST} lower-case letters, digits and, inside, \
         hyphens, as in orders.shop:grpc"
    ))
}
