//! A response on its way in.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame};

use super::TransportError;
use super::inflow::{Inflow, OF_RESPONSES};
use super::pump::Pump;
use super::repair::repair_status;
use super::slot::StreamSlot;

enum Stage {
    Data,
    Trailers,
    End,
}

/// A response on its way in. Dropped, it resets the stream.
pub struct ReceiveBody {
    inflow: Inflow,
    stage: Stage,
    /// The request that is on its way still.
    upload: Option<Pump>,
    slot: Option<StreamSlot>,
}

impl ReceiveBody {
    pub(super) fn new(stream: RecvStream, upload: Option<Pump>, slot: Option<StreamSlot>) -> Self {
        Self { inflow: Inflow::new(stream, OF_RESPONSES), stage: Stage::Data, upload, slot }
    }

    /// What the request's own body failed with: the stream was reset for it, and whatever else ended it at the same time says
    /// less to the caller.
    fn body_failure(&mut self) -> Option<TransportError> {
        self.upload.as_mut()?.failure().map(TransportError::body)
    }

    /// Why the stream failed. `h2` gives the error again when it is asked again.
    fn failure(&mut self, error: h2::Error) -> TransportError {
        self.body_failure().unwrap_or_else(|| TransportError::stream(error))
    }

    fn end(&mut self) {
        self.stage = Stage::End;
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
        if let Stage::Data = this.stage {
            match ready!(this.inflow.poll_data(cx)) {
                Some(Ok(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Err(error)) => {
                    let error = this.failure(error);
                    this.end();
                    return Poll::Ready(Some(Err(error)));
                }
                None => this.stage = Stage::Trailers,
            }
        }
        if let Stage::Trailers = this.stage {
            let trailers = match ready!(this.inflow.poll_trailers(cx)) {
                Ok(trailers) => {
                    let shared = this.slot.as_ref().map(|slot| &slot.shared);
                    let too_large = shared
                        .zip(trailers.as_ref())
                        .and_then(|(shared, trailers)| shared.too_large("response", trailers, 0));
                    match this.body_failure().or(too_large) {
                        Some(error) => Err(error),
                        None => Ok(trailers),
                    }
                }
                Err(error) => Err(this.failure(error)),
            };
            this.end();
            return Poll::Ready(match trailers {
                Ok(Some(mut trailers)) => {
                    repair_status(&mut trailers);
                    Some(Ok(Frame::trailers(trailers)))
                }
                Ok(None) => None,
                Err(error) => Some(Err(error)),
            });
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        match self.stage {
            Stage::Data => self.inflow.is_end_stream(),
            Stage::Trailers => false,
            Stage::End => true,
        }
    }
}

impl fmt::Debug for ReceiveBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReceiveBody")
    }
}
