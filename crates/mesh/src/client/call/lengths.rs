//! `maxRequestMessageBytes` and `maxResponseMessageBytes`: how long the messages of a stream are.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use crate::framing::Framing;

/// Follows the messages of one direction of a call and refuses the first that is longer than the policy allows, at its
/// length already. A message counts as it is sent: compressed, if it is.
#[derive(Debug)]
pub(crate) struct Lengths {
    limit: usize,
    of: &'static str,
    framing: Framing,
}

impl Lengths {
    pub(crate) fn of_request(limit: usize) -> Self {
        Self { limit, of: "request", framing: Framing::default() }
    }

    pub(crate) fn of_response(limit: usize) -> Self {
        Self { of: "response", ..Self::of_request(limit) }
    }

    /// Reads on.
    ///
    /// # Errors
    /// When a message is too long: RESOURCE_EXHAUSTED.
    pub(crate) fn read(&mut self, data: &[u8]) -> Result<(), Status> {
        self.framing.read(data, self.limit).map_err(|length| {
            Status::resource_exhausted(format!(
                "a {} message has {length} bytes; the policy of the method allows {}",
                self.of, self.limit
            ))
        })
    }
}

/// The body of a request whose messages may not be longer than a limit.
struct LimitedBody {
    body: tonic::body::Body,
    lengths: Lengths,
    failed: bool,
}

/// Follows the messages of a request's body.
pub(crate) fn limited(body: tonic::body::Body, limit: usize) -> tonic::body::Body {
    if body.is_end_stream() {
        return body;
    }
    tonic::body::Body::new(LimitedBody { body, lengths: Lengths::of_request(limit), failed: false })
}

impl Body for LimitedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.failed {
            return Poll::Ready(None);
        }
        let frame = std::task::ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(status) = this.lengths.read(data)
        {
            this.failed = true;
            return Poll::Ready(Some(Err(status)));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.failed || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&(length as u32).to_be_bytes());
        bytes.resize(5 + length, 0xff);
        bytes
    }

    #[test]
    fn messages_up_to_the_limit_pass_however_they_are_cut() {
        let stream: Vec<u8> = [0, 3, 10, 0, 0, 7, 10].into_iter().flat_map(message).collect();
        for size in 1..=stream.len() {
            let mut lengths = Lengths::of_response(10);
            for piece in stream.chunks(size) {
                lengths.read(piece).unwrap();
            }
            assert!(lengths.framing.between());
        }
    }

    #[test]
    fn a_message_above_the_limit_is_refused_at_its_length() {
        for size in 1..20 {
            let stream: Vec<u8> = [message(10), message(0), message(11)].concat();
            let mut lengths = Lengths::of_request(10);
            let mut read = 0;
            let status = stream.chunks(size).find_map(|piece| {
                read += piece.len();
                lengths.read(piece).err()
            });
            let status = status.unwrap();
            assert_eq!(status.code(), Code::ResourceExhausted);
            assert_eq!(status.message(), "a request message has 11 bytes; the policy of the method allows 10");
            assert!(read < 25 + size, "{size}: read {read}");
        }
        assert!(Lengths::of_response(0).read(&[0, 0, 0, 0, 1]).is_err());
        assert!(Lengths::of_response(usize::MAX).read(&[0, 0xff, 0xff, 0xff, 0xff]).is_ok());
    }
}
