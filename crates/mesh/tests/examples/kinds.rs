//! A service with one method of each kind, by hand: no generated one at hand has all four.
//!
//! Answers are made of the requests, so that lost, doubled and reordered messages are seen.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::uri::PathAndQuery;
use tokio_stream::StreamExt as _;
use tonic::codegen::BoxStream;
use tonic::server::NamedService;
use tonic::{Request, Response, Status, Streaming};
use tonic_health::pb::HealthCheckRequest as Message;
use tower::service_fn;

pub type Codec = tonic_prost::ProstCodec<Message, Message>;

pub fn message(text: impl Into<String>) -> Message {
    Message { service: text.into() }
}

pub fn path(method: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(method)
}

/// The server.
#[derive(Clone)]
pub struct Kinds;

impl NamedService for Kinds {
    const NAME: &'static str = "kinds.Kinds";
}

async fn one(request: Request<Message>) -> Result<Response<Message>, Status> {
    Ok(Response::new(request.into_inner()))
}

/// Each letter of the request.
async fn letters(request: Request<Message>) -> Result<Response<BoxStream<Message>>, Status> {
    let letters: Vec<_> = request.into_inner().service.chars().map(|letter| Ok(message(letter))).collect();
    Ok(Response::new(Box::pin(tokio_stream::iter(letters))))
}

/// All requests in one.
async fn join(request: Request<Streaming<Message>>) -> Result<Response<Message>, Status> {
    let mut requests = request.into_inner();
    let mut all = String::new();
    while let Some(request) = requests.message().await? {
        all.push_str(&request.service);
    }
    Ok(Response::new(message(all)))
}

/// Each request, at once, in capitals.
async fn shout(request: Request<Streaming<Message>>) -> Result<Response<BoxStream<Message>>, Status> {
    let answers = request.into_inner().map(|request| request.map(|request| message(request.service.to_uppercase())));
    Ok(Response::new(Box::pin(answers)))
}

impl tower::Service<http::Request<tonic::body::Body>> for Kinds {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let mut grpc = tonic::server::Grpc::new(Codec::default());
        async move {
            Ok(match request.uri().path() {
                "/kinds.Kinds/One" => grpc.unary(service_fn(one), request).await,
                "/kinds.Kinds/Letters" => grpc.server_streaming(service_fn(letters), request).await,
                "/kinds.Kinds/Join" => grpc.client_streaming(service_fn(join), request).await,
                "/kinds.Kinds/Shout" => grpc.streaming(service_fn(shout), request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        }
        .boxed()
    }
}
