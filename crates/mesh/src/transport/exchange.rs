//! One stream: a request on its way and its response.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use h2::client::ResponseFuture;
use tokio::time::Instant;
use tonic::Status;

use super::TransportError;
use super::body::RequestStream;
use super::pump::{Pump, PumpEnd};
use super::receive::ReceiveBody;
use super::repair::repair_status;
use super::sending::Sending;
use super::slot::StreamSlot;

/// What went wrong with an exchange: the connection, or the caller's own body.
#[derive(Debug)]
pub enum ExchangeError {
    /// The connection or the stream failed.
    Transport(TransportError),
    /// The request's body failed with this status, whatever the server said at the same time; the stream was reset.
    Body(Status),
}

/// The future of a response. Dropped, it resets the stream.
pub struct Exchange<B> {
    /// Before the slot, so that `h2` counts the stream as closed when its place is given back.
    response: ResponseFuture,
    upload: Upload<B>,
    /// What [`Exchange::server_since`] says for good: when all was sent, if that took time; or what it said when the answer
    /// came.
    settled: Option<Option<Instant>>,
    slot: Option<StreamSlot>,
}

/// The request's body on its way.
enum Upload<B> {
    Done,
    /// Polled by the exchange until it first has to wait.
    Here(Box<Sending<B>>),
    /// In a task of its own, which must not wait for someone to read the response.
    Task(Pump),
}

impl<B: RequestStream> Exchange<B> {
    /// A request whose headers were given to the connection, and all of its body if that is in memory `whole`.
    pub(super) fn new(
        slot: StreamSlot,
        response: ResponseFuture,
        mut stream: SendStream<Bytes>,
        body: B,
        whole: Option<Bytes>,
    ) -> Self {
        let upload = match whole {
            Some(bytes) => {
                if !bytes.is_empty() {
                    // h2 keeps it until the windows allow it. A failure shows in the response.
                    let _ = stream.send_data(bytes, true);
                }
                Upload::Done
            }
            None => Upload::Here(Box::new(Sending::new(stream, body))),
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
                Poll::Pending => self.upload = Upload::Task(Pump::spawn(*sending)),
            }
        }
        if let Upload::Task(pump) = &mut self.upload
            && let Poll::Ready(end) = pump.poll_end(cx)
        {
            // The task must not be asked again.
            let sent = pump.server_since();
            self.upload = Upload::Done;
            self.settled = Some(sent);
            match end {
                PumpEnd::Sent => {}
                PumpEnd::Failed(status) => return Err(ExchangeError::Body(status)),
                PumpEnd::Aborted => {
                    let message = "the runtime that sent the request's body has ended";
                    return Err(ExchangeError::Transport(TransportError::unavailable(message)));
                }
            }
        }
        Ok(())
    }

    /// What the request's body failed with, if it did since it was last polled.
    fn body_failure(&mut self) -> Option<Status> {
        match &mut self.upload {
            Upload::Task(pump) => pump.failure(),
            Upload::Done | Upload::Here(_) => None,
        }
    }

    /// Since when the server is the one that is waited for, of a request that was given to the connection at `given`;
    /// `None` while its caller has not given all of it.
    pub fn server_since(&self, given: Instant) -> Option<Instant> {
        match &self.upload {
            Upload::Done => self.settled.unwrap_or(Some(given)),
            Upload::Here(_) => None,
            Upload::Task(pump) => pump.server_since(),
        }
    }
}

impl<B: RequestStream> Future for Exchange<B> {
    type Output = Result<http::Response<ReceiveBody>, ExchangeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Err(error) = this.poll_upload(cx) {
            return Poll::Ready(Err(error));
        }
        let answered = ready!(Pin::new(&mut this.response).poll(cx));
        // It may have failed since it was polled above: then that is what ended the call.
        if let Some(status) = this.body_failure() {
            return Poll::Ready(Err(ExchangeError::Body(status)));
        }
        let response = match answered {
            Ok(response) => response,
            Err(error) => return Poll::Ready(Err(ExchangeError::Transport(TransportError::stream(error)))),
        };
        if let Some(error) =
            this.slot.as_ref().and_then(|slot| slot.shared.too_large("response", response.headers(), 0))
        {
            return Poll::Ready(Err(ExchangeError::Transport(error)));
        }
        let upload = match std::mem::replace(&mut this.upload, Upload::Done) {
            Upload::Task(pump) => {
                this.settled = Some(pump.server_since());
                Some(pump)
            }
            Upload::Here(_) | Upload::Done => None,
        };
        let slot = this.slot.take();
        let mut response = response.map(|stream| ReceiveBody::new(stream, upload, slot));
        repair_status(response.headers_mut());
        Poll::Ready(Ok(response))
    }
}

impl<B> fmt::Debug for Exchange<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchange")
    }
}
