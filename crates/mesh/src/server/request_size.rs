//! How large the messages of a request may be: told by gRPC's length prefixes, before a message is read, let alone decoded.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Status;
use tonic::codegen::StdError;

use super::Domain;
use crate::bodies::Framing;
use crate::errors::port::MESSAGE_TOO_LARGE;

/// The status of a call with a message of `length` bytes where `max` are allowed.
pub(in crate::server) fn too_large(domain: Domain, length: u32, max: usize) -> Status {
    let (length, max) = (length.to_string(), max.to_string());
    let message = format!("a message of {length} bytes is larger than the {max} bytes that this server takes");
    let metadata = [("length", length.as_str()), ("limit", max.as_str())];
    MESSAGE_TOO_LARGE.status(domain, message, &metadata)
}

/// What the request's body tells its call. Whoever reads the body may be another task.
#[derive(Debug, Default)]
pub(in crate::server) struct RequestFault {
    status: OnceLock<Status>,
    waker: AtomicWaker,
}

impl RequestFault {
    /// Why the call is over, if it is.
    pub(in crate::server) fn get(&self) -> Option<Status> {
        self.status.get().cloned()
    }

    /// As [`RequestFault::get`], after something was pending.
    pub(in crate::server) fn register(&self, cx: &Context<'_>) -> Option<Status> {
        self.waker.register(cx.waker());
        self.get()
    }

    fn set(&self, status: Status) {
        // The first one says what came first.
        let _ = self.status.set(status);
        self.waker.wake();
    }
}

/// What each message of a request has to pass.
pub(in crate::server) trait MessageRule {
    /// A message has begun.
    ///
    /// # Errors
    /// The status that ends the call.
    fn begins(&self) -> Result<(), Status>;
}

/// Every message passes.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct AnyMessage;

impl MessageRule for AnyMessage {
    fn begins(&self) -> Result<(), Status> {
        Ok(())
    }
}

pin_project! {
    /// A request body whose messages are held to a size and a rule. What breaks one of them ends the body, and its call.
    #[derive(Debug)]
    pub(in crate::server) struct CheckedRequest<A, R> {
        #[pin]
        inner: A,
        framing: Framing,
        max: usize,
        domain: Domain,
        rule: R,
        fault: Arc<RequestFault>,
    }
}

impl<A, R> CheckedRequest<A, R> {
    /// Holds the messages of `inner` to `max` bytes and to `rule`; `fault` says why the call is over.
    pub(in crate::server) fn new(inner: A, max: usize, domain: Domain, rule: R, fault: Arc<RequestFault>) -> Self {
        Self { inner, framing: Framing::default(), max, domain, rule, fault }
    }
}

impl<A, R> Body for CheckedRequest<A, R>
where
    A: Body<Data = Bytes>,
    A::Error: Into<StdError>,
    R: MessageRule,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        this.inner.poll_frame(cx).map(|frame| {
            let frame = match frame? {
                Ok(frame) => frame,
                Err(error) => return Some(Err(Status::from_error(error.into()))),
            };
            if let Some(data) = frame.data_ref() {
                let before = this.framing.messages();
                let read = this.framing.read(data, *this.max);
                let checked = read
                    .map_err(|length| too_large(*this.domain, length, *this.max))
                    .and_then(|()| (before..this.framing.messages()).try_for_each(|_| this.rule.begins()));
                if let Err(status) = checked {
                    this.fault.set(status.clone());
                    return Some(Err(status));
                }
            }
            Some(Ok(frame))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
