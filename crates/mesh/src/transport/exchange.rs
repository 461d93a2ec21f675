//! One stream: a request on its way and its response.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName};
use http_body::{Body, Frame};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tonic::Status;

use super::connection::StreamSlot;
use super::sending::{Progress, Sending};
use super::{RequestBody, TransportError};

/// How many bytes a caller may have before the peer is told that there is room again. Callers that pause hold back so
/// much of the connection's window each: a thousand of them must not use it up.
const RELEASE: usize = 4 << 10;

/// What went wrong with an exchange: the connection, or the caller's own body.
#[derive(Debug)]
pub enum ExchangeError {
    /// The connection or the stream failed.
    Transport(TransportError),
    /// The request's body failed; the stream was reset.
    Body(Status),
}

/// The future of a response. Dropped, it resets the stream.
pub struct Exchange {
    /// Before the slot, so that `h2` counts the stream as closed when its place is given back.
    response: ResponseFuture,
    upload: Upload,
    /// What [`Exchange::server_since`] says for good: when all was sent, if that took time; or what it said when the answer
    /// came.
    settled: Option<Option<Instant>>,
    slot: Option<StreamSlot>,
}

/// The request's body on its way.
enum Upload {
    Done,
    /// Polled by the exchange until it first has to wait.
    Here(Sending),
    /// In a task of its own, which must not wait for someone to read the response.
    Task(Pump),
}

/// The task that sends a body; it ends with its handle.
struct Pump {
    task: AbortHandle,
    failed: oneshot::Receiver<Status>,
    progress: Arc<Progress>,
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Exchange {
    pub(super) fn new(
        slot: StreamSlot,
        response: ResponseFuture,
        stream: SendStream<Bytes>,
        body: RequestBody,
    ) -> Self {
        let mut stream = stream;
        let upload = match body {
            RequestBody::Empty => Upload::Done,
            // Already in memory: h2 keeps it until the windows allow it. A failure shows in the response.
            RequestBody::Full(bytes) => {
                let _ = stream.send_data(bytes, true);
                Upload::Done
            }
            body => Upload::Here(Sending::new(stream, body)),
        };
        Self { response, upload, settled: None, slot: Some(slot) }
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), ExchangeError> {
        if let Upload::Here(..) = &self.upload
            && let Upload::Here(mut sending) = std::mem::replace(&mut self.upload, Upload::Done)
        {
            match sending.poll(cx) {
                Poll::Ready(Ok(())) if sending.is_whole() => {}
                // The server wanted no more of it.
                Poll::Ready(Ok(())) => self.settled = Some(None),
                Poll::Ready(Err(status)) => {
                    sending.reset();
                    return Err(ExchangeError::Body(status));
                }
                Poll::Pending => {
                    let (failure, failed) = oneshot::channel();
                    let progress = sending.progress();
                    let task = tokio::spawn(async move {
                        let sent = poll_fn(|cx| sending.poll(cx)).await;
                        if let Err(status) = sent {
                            // First: who sees the stream reset then finds why.
                            let _ = failure.send(status);
                            sending.reset();
                        }
                    });
                    self.upload = Upload::Task(Pump { task: task.abort_handle(), failed, progress });
                }
            }
        }
        if let Upload::Task(pump) = &mut self.upload
            && let Poll::Ready(failed) = Pin::new(&mut pump.failed).poll(cx)
        {
            // Without a failure all was sent; the task must not be asked again.
            let sent = pump.progress.server_since();
            self.upload = Upload::Done;
            self.settled = Some(sent);
            if let Ok(status) = failed {
                return Err(ExchangeError::Body(status));
            }
        }
        Ok(())
    }

    /// What the request's body said, if that is why the stream was reset.
    fn body_failure(&mut self) -> Option<Status> {
        match &mut self.upload {
            Upload::Task(pump) => pump.failed.try_recv().ok(),
            Upload::Done | Upload::Here(_) => None,
        }
    }

    /// Since when the server is the one that is waited for, of a request that was given to the connection at `given`;
    /// `None` while its caller has not given all of it.
    pub fn server_since(&self, given: Instant) -> Option<Instant> {
        match &self.upload {
            Upload::Done => self.settled.unwrap_or(Some(given)),
            Upload::Here(_) => None,
            Upload::Task(pump) => pump.progress.server_since(),
        }
    }
}

impl Future for Exchange {
    type Output = Result<http::Response<ReceiveBody>, ExchangeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Err(error) = self.poll_upload(cx) {
            return Poll::Ready(Err(error));
        }
        let response = match ready!(Pin::new(&mut self.response).poll(cx)) {
            Ok(response) => response,
            Err(error) => {
                return Poll::Ready(Err(match self.body_failure() {
                    Some(status) => ExchangeError::Body(status),
                    None => ExchangeError::Transport(TransportError::stream(error)),
                }));
            }
        };
        if let Some(error) = self.slot.as_ref().and_then(|slot| slot.shared.too_large("response", response.headers())) {
            return Poll::Ready(Err(ExchangeError::Transport(error)));
        }
        let upload = match std::mem::replace(&mut self.upload, Upload::Done) {
            Upload::Task(pump) => {
                self.settled = Some(pump.progress.server_since());
                Some(pump)
            }
            Upload::Here(_) | Upload::Done => None,
        };
        let slot = self.slot.take();
        let mut response = response.map(|stream| ReceiveBody { stream, unreleased: 0, at: At::Data, upload, slot });
        drop_invalid_details(response.headers_mut());
        Poll::Ready(Ok(response))
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchange")
    }
}

enum At {
    Data,
    Trailers,
    End,
}

/// A response on its way in. Dropped, it resets the stream.
pub struct ReceiveBody {
    stream: RecvStream,
    unreleased: usize,
    at: At,
    upload: Option<Pump>,
    slot: Option<StreamSlot>,
}

impl ReceiveBody {
    /// Tells the peer that there is room again. A response that is already here whole is never told: its room comes back
    /// with the end of the stream.
    fn release(&mut self) {
        if self.unreleased > 0 {
            // Fails only when the stream is closed, and then nobody waits for room.
            let _ = self.stream.flow_control().release_capacity(self.unreleased);
            self.unreleased = 0;
        }
    }

    /// Why the stream failed: what its own body says, when that is why it was reset. `h2` gives the error again when it is
    /// asked again.
    fn failure(&mut self, error: h2::Error) -> TransportError {
        if let Some(pump) = &mut self.upload
            && let Ok(status) = pump.failed.try_recv()
        {
            return TransportError::body(&status);
        }
        TransportError::stream(error)
    }

    fn end(&mut self) {
        self.at = At::End;
        self.upload = None;
        self.slot = None;
    }
}

impl Body for ReceiveBody {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        let this = &mut *self;
        if let At::Data = this.at {
            let Poll::Ready(data) = this.stream.poll_data(cx) else {
                this.release();
                return Poll::Pending;
            };
            match data {
                Some(Ok(bytes)) => {
                    this.unreleased += bytes.len();
                    if this.unreleased >= RELEASE {
                        this.release();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Err(error)) => {
                    let error = this.failure(error);
                    this.end();
                    return Poll::Ready(Some(Err(error)));
                }
                None => this.at = At::Trailers,
            }
        }
        if let At::Trailers = this.at {
            let trailers = match ready!(this.stream.poll_trailers(cx)) {
                Ok(Some(trailers)) => {
                    match this.slot.as_ref().and_then(|slot| slot.shared.too_large("response", &trailers)) {
                        Some(error) => Err(error),
                        None => Ok(Some(trailers)),
                    }
                }
                Ok(None) => Ok(None),
                Err(error) => Err(this.failure(error)),
            };
            this.end();
            return Poll::Ready(match trailers {
                Ok(Some(mut trailers)) => {
                    drop_invalid_details(&mut trailers);
                    Some(Ok(Frame::trailers(trailers)))
                }
                Ok(None) => None,
                Err(error) => Some(Err(error)),
            });
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        match self.at {
            At::Data => self.stream.is_end_stream(),
            At::Trailers => false,
            At::End => true,
        }
    }
}

impl fmt::Debug for ReceiveBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReceiveBody")
    }
}

/// tonic 0.14 panics on details that are not base64; such details say nothing, so they are dropped.
fn drop_invalid_details(headers: &mut HeaderMap) {
    static DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
    let invalid = headers.get(&DETAILS).is_some_and(|details| {
        STANDARD.decode(details.as_bytes()).is_err() && STANDARD_NO_PAD.decode(details.as_bytes()).is_err()
    });
    if invalid {
        headers.remove(&DETAILS);
    }
}
