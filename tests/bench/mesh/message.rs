//! The one method that is called, written by hand: an echo of bytes.

use bytes::Bytes;
use http::uri::PathAndQuery;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

/// The service, as the policy file names it.
pub const SERVICE: &str = "bench.Echo";
/// Where its method is.
pub const METHOD: &str = "/bench.Echo/Unary";
/// How many bytes go each way.
pub const PAYLOAD: usize = 128;

/// Request and response.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Payload {
    /// What is echoed.
    #[prost(bytes = "bytes", tag = "1")]
    pub data: Bytes,
}

impl Payload {
    /// The payload of all calls; a copy costs no allocation.
    pub fn usual() -> Self {
        Self { data: Bytes::from_static(&[b'x'; PAYLOAD]) }
    }
}

/// Makes the call as generated clients do.
pub async fn call<T>(channel: T, request: Request<Payload>) -> Result<Payload, Status>
where
    T: GrpcService<Body>,
    T::Error: std::fmt::Display,
    T::ResponseBody: tonic::codegen::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as tonic::codegen::Body>::Error: Into<tonic::codegen::StdError> + Send,
{
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = ProstCodec::<Payload, Payload>::default();
    Ok(grpc.unary(request, PathAndQuery::from_static(METHOD), codec).await?.into_inner())
}
