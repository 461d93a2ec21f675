//! How a request is given to a connection.

use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::noop_waker_ref;
use http::Request;

use super::TransportError;
use super::body::RequestStream;
use super::exchange::Exchange;
use super::slot::StreamSlot;

impl StreamSlot {
    /// Sends a request. Nothing is awaited: bytes that don't fit are sent as the peer takes them.
    ///
    /// # Errors
    /// When the connection ended meanwhile, or the headers are too large; the request never left.
    pub fn send<B: RequestStream>(self, request: Request<()>, mut body: B) -> Result<Exchange<B>, TransportError> {
        // A server ends the whole connection for headers that are far larger than it takes.
        let path = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
        if let Some(error) = self.shared.too_large("request", request.headers(), path) {
            return Err(error);
        }
        let whole = body.take_whole();
        let end = whole.as_ref().is_some_and(Bytes::is_empty);
        let mut cx = Context::from_waker(noop_waker_ref());
        let sent = {
            let mut sender = self.shared.sender();
            if sender.poll_ready(&mut cx).is_pending() {
                // h2 opens a stream a little after its place was given back here, and takes no other request meanwhile; but
                // a clone takes one, and keeps the order.
                let fresh = sender.clone();
                *sender = fresh;
            }
            sender.send_request(request, end)
        };
        match sent {
            Ok((response, stream)) => Ok(Exchange::new(self, response, stream, body, whole)),
            Err(error) => {
                // A message that h2 itself refuses is no fault of the connection, unless it has no stream ids left.
                let mut spent = || matches!(self.shared.sender().poll_ready(&mut cx), Poll::Ready(Err(_)));
                if !(error.is_go_away() || error.is_io() || error.reason().is_some() || spent()) {
                    // It would be refused wherever it is sent.
                    return Err(TransportError::malformed(format!("the request is no HTTP/2: {error}")));
                }
                self.shared.drain();
                Err(TransportError::not_sent(format!("the connection was going: {error}")))
            }
        }
    }
}
