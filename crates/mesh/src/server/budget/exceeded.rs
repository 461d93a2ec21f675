//! What a caller is told who has as much as it may.

use std::fmt;

use tonic::{Code, Status};

use super::resource::Resource;
use crate::errors::ErrorKind;
use crate::errors::port::{
    OVERLOADED, TOO_MANY_BYTES, TOO_MANY_CALLS, TOO_MANY_STREAMS, TOO_MANY_WATCHES, UNREAD_ANSWERS,
};
use crate::server::Domain;

/// No call is answered so: a connection that is too much gets GOAWAY.
const TOO_MANY_CONNECTIONS: ErrorKind =
    ErrorKind::new("TOO_MANY_CONNECTIONS", Code::ResourceExhausted, "As many connections are open as may be.");

/// Whose limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::server) enum Scope {
    /// That of all callers together.
    Server,
    /// That of a connection.
    Connection,
    /// That of an address, whoever calls from there.
    Address,
    /// That of a principal, or of the strangers at an address.
    Caller,
}

impl Scope {
    fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Connection => "connection",
            Self::Address => "address",
            Self::Caller => "caller",
        }
    }

    fn whose(self) -> &'static str {
        match self {
            Self::Server => "all callers of this server",
            Self::Connection => "this connection",
            Self::Address => "this address",
            Self::Caller => "this caller",
        }
    }
}

/// A limit is reached. Its text is for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct Exceeded {
    pub resource: Resource,
    pub scope: Scope,
    pub limit: usize,
}

impl Exceeded {
    /// The answer: UNAVAILABLE where another server may take the call, else RESOURCE_EXHAUSTED, which speaks against no
    /// server, so that no client's circuit breaker opens for it.
    pub(in crate::server) fn status(&self, domain: Domain) -> Status {
        let message = self.to_string();
        let kind = match self.resource {
            // No pushback: it would hold back the retry that another server could answer at once.
            Resource::Calls if self.scope == Scope::Server => return OVERLOADED.status(domain, message, &[]),
            Resource::Calls => TOO_MANY_CALLS,
            Resource::Streams => TOO_MANY_STREAMS,
            Resource::Watches => TOO_MANY_WATCHES,
            Resource::Connections => TOO_MANY_CONNECTIONS,
            Resource::ArrivingBytes => TOO_MANY_BYTES,
            Resource::UnreadBytes => UNREAD_ANSWERS,
        };
        let limit = self.limit.to_string();
        let metadata = [("scope", self.scope.as_str()), ("limit", limit.as_str())];
        kind.status(domain, message, &metadata)
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whose, limit) = (self.scope.whose(), self.limit);
        match (self.resource, self.scope) {
            (Resource::Calls, Scope::Server) => {
                f.write_str("the server has as many calls in flight as it can serve well; try another one, or later")
            }
            (Resource::Calls, _) => write!(
                f,
                "there are {limit} calls of {whose} in flight, as many as may be; call again when one has ended"
            ),
            (Resource::Streams, _) => write!(
                f,
                "there are {limit} open streams of {whose}, as many as may be; end one, and open another then"
            ),
            (Resource::Watches, _) => write!(
                f,
                "{limit} streams of health and reflection of {whose} are open, as many as may be; end one, or call Check"
            ),
            (Resource::Connections, _) => write!(
                f,
                "there are {limit} connections of {whose}, as many as may be; one is enough for many calls at once"
            ),
            (Resource::ArrivingBytes, Scope::Server) => {
                f.write_str("too many messages are on their way to this server; send fewer at once")
            }
            (Resource::ArrivingBytes, _) => {
                write!(f, "too many messages are on their way from {whose}; send fewer at once")
            }
            (Resource::UnreadBytes, _) => {
                write!(f, "too many bytes of answers wait to be read by {whose}; read them before asking for more")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;

    fn status(resource: Resource, scope: Scope) -> Status {
        Exceeded { resource, scope, limit: 7 }.status(Domain::default())
    }

    #[test]
    fn each_answer_says_what_is_too_much_and_for_whom() {
        let reasons = [
            (Resource::Calls, "TOO_MANY_CALLS"),
            (Resource::Streams, "TOO_MANY_STREAMS"),
            (Resource::Watches, "TOO_MANY_WATCHES"),
            (Resource::Connections, "TOO_MANY_CONNECTIONS"),
            (Resource::ArrivingBytes, "TOO_MANY_BYTES"),
            (Resource::UnreadBytes, "UNREAD_ANSWERS"),
        ];
        for (resource, reason) in reasons {
            for (scope, name) in [(Scope::Address, "address"), (Scope::Caller, "caller"), (Scope::Server, "server")] {
                if (resource, scope) == (Resource::Calls, Scope::Server) {
                    continue;
                }
                let status = status(resource, scope);
                let info = status.get_details_error_info().unwrap();
                assert_eq!((status.code(), info.reason.as_str()), (Code::ResourceExhausted, reason));
                assert_eq!((info.metadata["scope"].as_str(), info.metadata["limit"].as_str()), (name, "7"));
            }
        }
        assert!(status(Resource::Streams, Scope::Caller).message().contains("7 open streams of this caller"));
    }

    #[test]
    fn calls_above_what_the_server_can_serve_may_go_to_another_one_at_once() {
        let status = status(Resource::Calls, Scope::Server);
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.get_details_error_info().unwrap().reason, "OVERLOADED");
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, OVERLOADED.retry_after);
        assert!(status.metadata().get("grpc-retry-pushback-ms").is_none());
    }
}
