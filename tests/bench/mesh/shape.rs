//! Calls of other shapes than the usual one: streams of many messages, and messages that are large.

use bytes::Bytes;
use http::uri::PathAndQuery;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::message::{METHOD, Payload};

/// How many messages a stream has in each direction that has one.
pub const MESSAGES: usize = 1_000;
/// How many bytes a large message carries.
pub const LARGE: usize = 1 << 20;
/// Where the method is that answers one message with [`MESSAGES`].
pub const DOWN: &str = "/bench.Echo/Down";
/// Where the method is that answers each message with one.
pub const BOTH: &str = "/bench.Echo/Both";

static LARGE_DATA: [u8; LARGE] = [b'x'; LARGE];

/// What is sent and answered in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One message of the usual size, answered with [`MESSAGES`].
    Down,
    /// [`MESSAGES`] of the usual size, each answered with one.
    Both,
    /// One message of [`LARGE`] bytes, answered with one.
    Large,
}

impl Shape {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 3] = [Self::Down, Self::Both, Self::Large];

    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Down => "1,000 messages down",
            Self::Both => "1,000 both ways",
            Self::Large => "1 MiB both ways",
        }
    }

    /// What a client process is told.
    pub fn word(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Both => "both",
            Self::Large => "large",
        }
    }

    /// The shape that a client process was told.
    pub fn of(word: &str) -> Self {
        Self::ALL.into_iter().find(|shape| shape.word() == word).unwrap()
    }

    /// How many calls are in flight: fewer than usual, because each is much longer.
    pub fn in_flight(self) -> usize {
        if self == Self::Large { 8 } else { 16 }
    }
}

/// Makes the call as generated clients do.
pub async fn call<T>(channel: T, shape: Shape) -> Result<(), Status>
where
    T: GrpcService<Body>,
    T::Error: std::fmt::Display,
    T::ResponseBody: tonic::codegen::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as tonic::codegen::Body>::Error: Into<tonic::codegen::StdError> + Send,
{
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = ProstCodec::<Payload, Payload>::default();
    match shape {
        Shape::Down => {
            let request = Request::new(Payload::usual());
            all(grpc.server_streaming(request, PathAndQuery::from_static(DOWN), codec).await?.into_inner()).await
        }
        Shape::Both => {
            let messages = tokio_stream::iter(std::iter::repeat_n(Payload::usual(), MESSAGES));
            let request = Request::new(messages);
            all(grpc.streaming(request, PathAndQuery::from_static(BOTH), codec).await?.into_inner()).await
        }
        Shape::Large => {
            let request = Request::new(Payload { data: Bytes::from_static(&LARGE_DATA) });
            let answer = grpc.unary(request, PathAndQuery::from_static(METHOD), codec).await?.into_inner();
            if answer.data.len() == LARGE { Ok(()) } else { Err(Status::data_loss("an answer of another length")) }
        }
    }
}

/// Reads a stream to its end.
async fn all(mut answers: Streaming<Payload>) -> Result<(), Status> {
    let mut count = 0;
    while answers.message().await?.is_some() {
        count += 1;
    }
    if count == MESSAGES { Ok(()) } else { Err(Status::data_loss(format!("{count} answers"))) }
}
