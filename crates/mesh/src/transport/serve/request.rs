//! A request on its way in.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame};
use tonic::Status;

use crate::transport::error::TransportError;
use crate::transport::inflow::{Inflow, OF_REQUESTS};

enum Stage {
    Data,
    Trailers,
    End,
}

/// The body of a request. The client's window opens as it is read. Dropped before its end, it tells the client to send no
/// more of it.
pub(crate) struct RequestBody {
    inflow: Inflow,
    stage: Stage,
}

impl RequestBody {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self { inflow: Inflow::new(stream, OF_REQUESTS), stage: Stage::Data }
    }

    /// The end, by what `h2` says of the stream: CANCELLED when the client has reset it.
    fn failed(&mut self, error: h2::Error) -> Status {
        self.stage = Stage::End;
        TransportError::served(error).into_status()
    }
}

impl Drop for RequestBody {
    /// The stream may last much longer than its request: to the end of the answer.
    fn drop(&mut self) {
        self.inflow.release();
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if let Stage::Data = this.stage {
            match ready!(this.inflow.poll_data(cx)) {
                Some(Ok(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Err(error)) => return Poll::Ready(Some(Err(this.failed(error)))),
                None => this.stage = Stage::Trailers,
            }
        }
        if let Stage::Trailers = this.stage {
            return Poll::Ready(match ready!(this.inflow.poll_trailers(cx)) {
                Ok(trailers) => {
                    this.stage = Stage::End;
                    trailers.map(|trailers| Ok(Frame::trailers(trailers)))
                }
                Err(error) => Some(Err(this.failed(error))),
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

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestBody")
    }
}
