//! What is noted of a call whose record somebody wants. Other calls have none, and count nothing.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use http_body::{Body, Frame, SizeHint};
use smallvec::SmallVec;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::context::ConnectionContext;
use super::origin::CallOrigin;
use crate::bodies::SharedBytes;
use crate::server::auth::Principal;
use crate::server::call_observer::{CallHead, CallRecord, CallRecorder};
use crate::server::panics::run_hook;

/// The record of a call in the making.
pub(super) struct Recording {
    recorders: SmallVec<[Box<dyn CallRecorder>; 2]>,
    began: Instant,
    principal: OnceLock<Principal>,
    http_status: Option<StatusCode>,
    received: Arc<SharedBytes>,
    sent: SharedBytes,
}

impl Recording {
    /// Asks the server's observers which of them want the record of the call that came at `began`, of a method that is known or
    /// not.
    pub(super) fn begin(
        connection: &ConnectionContext,
        origin: &CallOrigin,
        head: &mut Parts,
        (began, known): (Instant, bool),
    ) -> Option<Box<Self>> {
        let mut recorders = SmallVec::<[Box<dyn CallRecorder>; 2]>::new();
        for observer in &connection.pipeline.observers {
            run_hook("CallObserver::record", || {
                recorders.extend(observer.record(&mut CallHead {
                    method: &head.method,
                    path: head.uri.path(),
                    known,
                    headers: &head.headers,
                    peer: origin.peer(connection),
                    extensions: &mut head.extensions,
                }));
            });
        }
        if recorders.is_empty() {
            return None;
        }
        Some(Box::new(Self {
            recorders,
            began,
            principal: OnceLock::new(),
            http_status: None,
            received: Arc::default(),
            sent: SharedBytes::default(),
        }))
    }

    /// It was found out who calls.
    pub(super) fn identified(&self, principal: &Principal) {
        // That is done once.
        let _ = self.principal.set(principal.clone());
    }

    /// Its answer begins.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.http_status = Some(status);
    }

    /// These bytes of its answer go to the connection.
    pub(super) fn sent(&self, data: &[u8]) {
        self.sent.read(data);
    }

    /// Gives the record of the call to `path`, which ends with `code`.
    pub(super) fn end(self, path: &str, code: Code) {
        let Self { recorders, began, principal, http_status, received, sent } = self;
        let (received, sent) = (received.get(), sent.get());
        let record = CallRecord {
            path,
            principal: principal.get(),
            code,
            http_status,
            took: began.elapsed(),
            received: received.all(),
            sent: sent.all(),
            received_payload: received.of_messages(),
            sent_payload: sent.of_messages(),
        };
        for recorder in recorders {
            run_hook("CallRecorder::ended", || recorder.ended(&record));
        }
    }
}

/// The body of a request, whose bytes count for the record of its call, if there is one.
pub(super) struct CountedBody<A> {
    body: A,
    received: Option<Arc<SharedBytes>>,
}

impl<A> CountedBody<A> {
    pub(super) fn new(body: A, recording: Option<&Recording>) -> Self {
        Self { body, received: recording.map(|recording| Arc::clone(&recording.received)) }
    }
}

impl<A> Body for CountedBody<A>
where
    A: Body<Data = Bytes, Error = Status> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(received) = &this.received else { return Pin::new(&mut this.body).poll_frame(cx) };
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            received.read(data);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
