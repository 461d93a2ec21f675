//! Response bodies that a layer can end before their time, with a status in the trailers.

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tonic::Status;

/// The last frame of a stream that ends with `status`. On a server an error of the body would reset the stream instead, and
/// the client would never see the status.
pub(super) fn trailers(status: &Status) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // Details or metadata that are no headers: the code and nothing else.
        trailers.clear();
        trailers.insert("grpc-status", (status.code() as i32).into());
    }
    Frame::trailers(trailers)
}
