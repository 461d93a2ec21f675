//! How an exchange fails below gRPC.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use h2::Reason;
use tonic::{Code, Status};

use crate::outcome::CallerFault;

/// How far a request that failed had come; it decides whether sending it again is safe without being asked (gRFC A6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It never left this process.
    NotSent,
    /// The peer's HTTP/2 library had it, its application never saw it: REFUSED_STREAM, or GOAWAY below its stream.
    Refused,
    /// The application may have seen it.
    Sent,
}

/// A failure of the connection or of one stream.
///
/// Its source is the error of `h2`, or [`CallerFault`] when it was made on this side by what the caller did.
#[derive(Clone, Debug)]
pub struct TransportError {
    code: Code,
    fate: Fate,
    message: String,
    cause: Cause,
}

#[derive(Clone, Debug)]
enum Cause {
    /// The connection, or the server.
    Peer(Option<Arc<h2::Error>>),
    /// What the caller did, or a limit of the channel; with the status of the caller's own body, if that is what failed.
    Caller(Option<Status>),
}

impl TransportError {
    /// The connection was gone, or going, before the request was given to it.
    pub(crate) fn not_sent(message: impl Into<String>) -> Self {
        Self { code: Code::Unavailable, fate: Fate::NotSent, message: message.into(), cause: Cause::Peer(None) }
    }

    /// A request that can't be sent, over any connection: to try again would lead to the same.
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self { code: Code::Internal, fate: Fate::Sent, message: message.into(), cause: Cause::Caller(None) }
    }

    /// A connection that could not be made or used.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self { code: Code::Unavailable, fate: Fate::Sent, message: message.into(), cause: Cause::Peer(None) }
    }

    /// The caller's own body failed after the response had begun; the stream was reset for it.
    pub(super) fn body(status: Status) -> Self {
        let message = status.message().to_owned();
        Self { code: status.code(), fate: Fate::Sent, message, cause: Cause::Caller(Some(status)) }
    }

    /// Headers or trailers `of` a request or response that are larger than a call may have; its stream ends, and no other.
    pub(super) fn headers_too_large(of: &str, size: usize, limit: usize) -> Self {
        let message = format!(
            "the headers of the {of} have {size} bytes, and may have {limit}; http2_max_header_list_size of the channel \
             says so"
        );
        Self { code: Code::ResourceExhausted, fate: Fate::Sent, message, cause: Cause::Caller(None) }
    }

    /// What `h2` says of one stream, to a client.
    ///
    /// The codes follow gRPC's table of HTTP/2 error codes; a connection that broke is UNAVAILABLE.
    pub(super) fn stream(error: h2::Error) -> Self {
        Self::between("server", "channel", error)
    }

    /// What `h2` says of a connection or one stream of it, to a server. A client that resets its call has cancelled it, for
    /// whatever reason.
    pub(super) fn served(error: h2::Error) -> Self {
        let cancelled = error.is_reset() && error.is_remote();
        let mut failure = Self::between("client", "server", error);
        if cancelled {
            failure.code = Code::Cancelled;
        }
        failure
    }

    /// What `h2` says, where the sides have these names.
    fn between(peer: &str, here: &str, error: h2::Error) -> Self {
        let fate = Self::fate_of(&error);
        let code = match error.reason() {
            _ if error.is_io() || error.is_go_away() => Code::Unavailable,
            Some(Reason::REFUSED_STREAM) => Code::Unavailable,
            Some(Reason::CANCEL) => Code::Cancelled,
            Some(Reason::ENHANCE_YOUR_CALM) => Code::ResourceExhausted,
            Some(Reason::INADEQUATE_SECURITY) => Code::PermissionDenied,
            Some(_) => Code::Internal,
            None => Code::Unavailable,
        };
        let message = if error.is_io() || error.reason().is_none() {
            format!("the connection broke: {error}")
        } else {
            let side = if error.is_remote() { peer } else { here };
            let ended = if error.is_go_away() { "connection" } else { "stream" };
            format!("the {side} ended the {ended}: {error}")
        };
        Self { code, fate, message, cause: Cause::Peer(Some(Arc::new(error))) }
    }

    /// What `h2` says of a connection before its SETTINGS: what isn't a frame then comes from a peer of another kind.
    pub(super) fn before_settings(mut self) -> Self {
        if let Cause::Peer(Some(error)) = &self.cause
            && error.is_go_away()
            && !error.is_remote()
        {
            self.message = "the server does not speak HTTP/2".to_owned();
        }
        self
    }

    /// How far a request had come that ended with `error`, by what is found in the chain of its sources.
    pub(crate) fn fate_in(error: &(dyn std::error::Error + 'static)) -> Fate {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(transport) = error.downcast_ref::<Self>() {
                return transport.fate();
            }
            if let Some(h2) = error.downcast_ref::<h2::Error>() {
                return Self::fate_of(h2);
            }
            next = error.source();
        }
        Fate::Sent
    }

    /// How far a request had come that ended with `error`: one that the server refused, or that came after the last one
    /// of a GOAWAY, was never seen by its application.
    fn fate_of(error: &h2::Error) -> Fate {
        let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
        if error.is_remote() && (refused || error.is_go_away()) { Fate::Refused } else { Fate::Sent }
    }

    /// What a caller gets.
    pub fn code(&self) -> Code {
        self.code
    }

    /// How far the request had come.
    pub fn fate(&self) -> Fate {
        self.fate
    }

    /// Whether it was made on this side, by the caller's own body or by a limit of the channel: it says nothing of the
    /// server, and comes again however often the call is repeated.
    pub fn is_local(&self) -> bool {
        matches!(self.cause, Cause::Caller(_))
    }

    /// As a status of gRPC, with this error as its source; the caller's own status keeps its details and metadata.
    pub(crate) fn into_status(self) -> Status {
        let mut status = match &self.cause {
            Cause::Caller(Some(status)) => status.clone(),
            Cause::Caller(None) | Cause::Peer(_) => Status::new(self.code, self.message.clone()),
        };
        status.set_source(Arc::new(self));
        status
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for TransportError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.cause {
            Cause::Caller(_) => Some(&CallerFault),
            Cause::Peer(error) => error.as_deref().map(|error| error as &(dyn Error + 'static)),
        }
    }
}
