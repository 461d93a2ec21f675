//! Calls by bare `h2`: what is held back, and how much is read, is the test's to say.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response, request, response};
use meshwork::transport::Io;
use prost::Message as _;
use tokio::task::JoinHandle;
use tonic::Status;

/// A connection of its own. It is open as long as this is there, or a call.
pub struct Wire {
    client: SendRequest<Bytes>,
    /// What becomes of it.
    pub connection: JoinHandle<Result<(), h2::Error>>,
}

impl Wire {
    pub async fn new(io: Box<dyn Io>) -> Self {
        Self::with_window(io, 65_535).await
    }

    /// So many bytes of an answer may be sent that are not read.
    pub async fn with_window(io: Box<dyn Io>, bytes: u32) -> Self {
        let (client, connection) = Builder::new().initial_window_size(bytes).handshake::<_, Bytes>(io).await.unwrap();
        Self { client, connection: tokio::spawn(connection) }
    }

    /// Sends the head of a request, and with `end` no more than that.
    pub async fn send(&self, head: Request<()>, end: bool) -> (ResponseFuture, SendStream<Bytes>) {
        self.client.clone().ready().await.unwrap().send_request(head, end).unwrap()
    }

    /// The answer to a call with one message, as far as its head.
    pub async fn call(&self, head: request::Builder, said: &str) -> Result<Response<RecvStream>, h2::Error> {
        let (answer, mut request) = self.send(head.body(()).unwrap(), false).await;
        request.send_data(framed(said), true).unwrap();
        answer.await
    }
}

/// The head of a call.
pub fn head(path: &str) -> request::Builder {
    Request::post(format!("http://server{path}")).header("content-type", "application/grpc").header("te", "trailers")
}

/// A message as gRPC frames it.
pub fn framed(said: &str) -> Bytes {
    let message = said.to_owned().encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length, &message].concat().into()
}

/// Whether the answer is whole, and the server wants no more of the request (RFC 9113, section 8.1).
fn is_whole(error: &h2::Error) -> bool {
    error.reason() == Some(Reason::NO_ERROR)
}

/// A whole answer.
pub struct Answer {
    pub head: response::Parts,
    pub data: Vec<u8>,
    trailers: HeaderMap,
}

impl Answer {
    /// Reads an answer to its end. After each piece `pace` goes by before there is room for more; `None`: there never is.
    pub async fn read(answer: Response<RecvStream>, pace: Option<Duration>) -> Result<Self, h2::Error> {
        let (head, mut body) = answer.into_parts();
        let mut data = Vec::new();
        while let Some(piece) = body.data().await {
            let piece = match piece {
                Err(error) if is_whole(&error) => break,
                piece => piece?,
            };
            data.extend_from_slice(&piece);
            if let Some(pace) = pace {
                tokio::time::sleep(pace).await;
                body.flow_control().release_capacity(piece.len())?;
            }
        }
        let trailers = match body.trailers().await {
            Err(error) if is_whole(&error) => HeaderMap::new(),
            trailers => trailers?.unwrap_or_default(),
        };
        Ok(Self { head, data, trailers })
    }

    /// How the call ended, by its trailers or by its head.
    pub fn status(&self) -> Status {
        let status = Status::from_header_map(&self.trailers).or_else(|| Status::from_header_map(&self.head.headers));
        status.unwrap_or_else(|| panic!("there is no status: {:?}", self.head))
    }
}
