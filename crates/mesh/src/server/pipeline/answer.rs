//! The one body of an answer: it keeps the time of its call, ends with the server, and ends with a status whatever happens.

use std::convert::Infallible;
use std::future::Future as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep_until};
use tonic::body::Body;
use tonic::{Code, Status};

use super::end::ServerEnd;
use super::guard::ActiveCall;
use super::time::CallTime;
use crate::deadline::within;
use crate::outcome::grpc_status;
use crate::server::body::trailers;
use crate::server::panics::{drop_quietly, report_panic};
use crate::server::rate::LimitFields;
use crate::server::request_size::RequestFault;
use crate::server::status_size::bound_status;

/// The body of an answer. On a server an error of the body would reset the stream, and the client would never see a status: so
/// this one has no errors. An answer that is none of gRPC has no status: where it has to end, it is cut off.
pub(in crate::server) struct AnswerBody {
    /// `None`: over.
    inner: Option<Body>,
    bounds: Bounds,
    call: Arc<ActiveCall>,
}

/// What ends an answer before its time.
pub(super) struct Bounds {
    pub time: CallTime,
    pub fault: Option<Arc<RequestFault>>,
    pub end: ServerEnd,
    /// Whether the answer may be a stream.
    pub streams: bool,
    pub timer: Option<Pin<Box<Sleep>>>,
    /// Whether the server reports limits, which nobody else is to do.
    pub reports_limits: bool,
}

impl AnswerBody {
    /// `inner` within `bounds`.
    pub(super) fn new(inner: Body, bounds: Bounds, call: Arc<ActiveCall>) -> Self {
        Self { inner: Some(inner), bounds, call }
    }

    /// Lets go of the handler's stream, which cancels it unless it is over.
    fn drop_inner(&mut self) {
        if let Some(inner) = self.inner.take() {
            drop_quietly(|| drop(inner));
        }
    }

    fn end(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.drop_inner();
        if self.call.cut_off() {
            return Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::new()))));
        }
        let mut frame = trailers(status);
        if let Some(trailers) = frame.trailers_mut() {
            bound_status(trailers);
        }
        self.call.set_code(status.code());
        Poll::Ready(Some(Ok(frame)))
    }

    /// The end of the answer, with the handler's trailers if it has any.
    fn finish(&mut self, trailers: Option<HeaderMap>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // A handler may take a request that was cut off for one that has ended.
        if let Some(status) = self.bounds.fault() {
            return self.end(&status);
        }
        self.drop_inner();
        let Some(mut trailers) = trailers else {
            self.call.end_without_trailers();
            return Poll::Ready(None);
        };
        bound_status(&mut trailers);
        if self.bounds.reports_limits {
            LimitFields::remove(&mut trailers);
        }
        self.call.set_code(grpc_status(&trailers).unwrap_or(Code::Unknown));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

impl Bounds {
    /// What the request was at fault with.
    fn fault(&self) -> Option<Status> {
        self.fault.as_ref().and_then(|fault| fault.get())
    }

    /// Why an answer with data at hand has to end, if it has to.
    fn on_data(&mut self, data: &[u8]) -> Option<Status> {
        if let Some(status) = self.fault() {
            return Some(status);
        }
        // A stream that never has to wait would never meet its timer.
        if self.streams && self.time.is_over() {
            return Some(self.time.status(self.end.domain(), "before the end of its response"));
        }
        self.end.on_data(data);
        None
    }

    /// Why an answer that waits has to end, if it has to.
    fn on_wait(&mut self, cx: &mut Context<'_>) -> Option<Status> {
        if let Some(status) = self.fault.as_ref().and_then(|fault| fault.register(cx)) {
            return Some(status);
        }
        if let Some(status) = self.end.on_wait(cx) {
            return Some(status);
        }
        let end = self.time.end()?;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
        let is_over = timer.as_mut().poll(cx).is_ready();
        is_over.then(|| self.time.status(self.end.domain(), "before the end of its response"))
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        if let Some(status) = this.bounds.end.before_data() {
            return this.end(&status);
        }
        // A single message is there when it is answered: nobody makes calls for it any more.
        let deadline = this.bounds.time.deadline.filter(|_| this.bounds.streams);
        // What the handler has to say comes first: a watcher of the health is to see NOT_SERVING.
        let polled = catch_unwind(AssertUnwindSafe(|| within(deadline, || Pin::new(inner).poll_frame(cx))));
        match polled {
            Err(panic) => {
                let status = report_panic(this.bounds.end.domain(), &*panic);
                this.end(&status)
            }
            Ok(Poll::Pending) => match this.bounds.on_wait(cx) {
                Some(status) => this.end(&status),
                None => Poll::Pending,
            },
            Ok(Poll::Ready(Some(Ok(frame)))) => match frame.into_data() {
                Ok(data) => match this.bounds.on_data(&data) {
                    Some(status) => this.end(&status),
                    None => {
                        this.call.sent(&data);
                        Poll::Ready(Some(Ok(Frame::data(data))))
                    }
                },
                // There is no third kind of frame.
                Err(frame) => this.finish(frame.into_trailers().ok()),
            },
            Ok(Poll::Ready(Some(Err(status)))) => this.end(&status),
            Ok(Poll::Ready(None)) => this.finish(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}
