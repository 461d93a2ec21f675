//! A channel and tonic's server over the network in memory.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::convert::Infallible;

use meshwork::Channel;
use meshwork::connect::Memory;
use meshwork::policy::Policy;
use tonic::codegen::{Body, BoxFuture, Context, Poll, Service, StdError};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

/// Answers with as many bytes as the request's first four say.
#[derive(Clone)]
struct Sizes;

impl Service<http::Request<tonic::body::Body>> for Sizes {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        struct Answer;
        impl tonic::server::UnaryService<Vec<u8>> for Answer {
            type Response = Vec<u8>;
            type Future = BoxFuture<tonic::Response<Vec<u8>>, Status>;
            fn call(&mut self, request: tonic::Request<Vec<u8>>) -> Self::Future {
                let length = u32::from_be_bytes(request.get_ref()[..4].try_into().unwrap());
                Box::pin(async move { Ok(tonic::Response::new(vec![0; length as usize])) })
            }
        }
        Box::pin(async move { Ok(tonic::server::Grpc::new(ProstCodec::default()).unary(Answer, request).await) })
    }
}

impl tonic::server::NamedService for Sizes {
    const NAME: &'static str = "test.Sizes";
}

async fn ask<C>(channel: C, asked: u32, padding: usize) -> Result<usize, Status>
where
    C: tonic::client::GrpcService<tonic::body::Body>,
    <C::ResponseBody as Body>::Error: Into<StdError>,
    C::ResponseBody: Send + 'static,
{
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| Status::from_error(error.into()))?;
    let path = http::uri::PathAndQuery::from_static("/test.Sizes/Ask");
    let mut message = asked.to_be_bytes().to_vec();
    message.resize(4 + padding, 0);
    let answer: tonic::Response<Vec<u8>> =
        client.unary(tonic::Request::new(message), path, ProstCodec::default()).await?;
    Ok(answer.get_ref().len())
}

fn channel(network: &Memory, policy: &str) -> Channel {
    Channel::builder()
        .connector(network.clone())
        .policy(Policy::parse(policy).unwrap())
        .connect_lazy("static:///10.0.0.1:50051")
        .unwrap()
}

fn serve(network: &Memory) {
    let listener = network.listen("10.0.0.1:50051").unwrap();
    tokio::spawn(tonic::transport::Server::builder().add_service(Sizes).serve_with_incoming(listener));
}

#[tokio::test(start_paused = true)]
async fn calls_reach_a_server_of_tonic_and_fail_when_it_is_refused() {
    let network = Memory::new();
    serve(&network);
    let plain = channel(&network, "{}");
    assert_eq!(ask(plain.clone(), 1000, 0).await.unwrap(), 1000);
    assert_eq!(network.open_connections("10.0.0.1:50051"), 1);
    network.refuse("10.0.0.1:50051");
    assert_eq!(network.cut("10.0.0.1:50051"), 1);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(ask(plain.clone(), 1000, 0).await.unwrap_err().code(), Code::Unavailable);
    network.restore("10.0.0.1:50051");
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    assert_eq!(ask(plain, 1000, 0).await.unwrap(), 1000);
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_of_a_channel_closes_its_connections() {
    let network = Memory::new();
    serve(&network);
    let one = channel(&network, "{}");
    ask(one.clone(), 1, 0).await.unwrap();
    drop(one);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(network.open_connections("10.0.0.1:50051"), 0);
}

#[tokio::test(start_paused = true)]
async fn messages_longer_than_the_policy_allows_are_resource_exhausted() {
    let network = Memory::new();
    serve(&network);
    let policy =
        r#"{"methodConfig": [{"name": [{}], "maxRequestMessageBytes": 100, "maxResponseMessageBytes": 1000}]}"#;
    let limited = channel(&network, policy);
    // A field of bytes takes two bytes or three more.
    assert_eq!(ask(limited.clone(), 997, 94).await.unwrap(), 997);
    let status = ask(limited.clone(), 998, 0).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("response message has 1001 bytes"), "{status}");
    let status = ask(limited.clone(), 1, 95).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("request message has 101 bytes"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn c25_a_response_above_tonics_default_is_resource_exhausted_and_the_channel_says_so() {
    let network = Memory::new();
    serve(&network);
    let plain = channel(&network, "{}");
    let status = ask(plain.clone(), 5 << 20, 0).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("max_decoding_message_size"), "{status}");
    assert_eq!(ask(plain, 4_000_000, 0).await.unwrap(), 4_000_000);
    // Where the policy says more, the channel has nothing against it: what is left is the limit of the stub.
    let more = channel(&network, r#"{"methodConfig": [{"name": [{}], "maxResponseMessageBytes": 8000000}]}"#);
    assert_eq!(ask(more, 5 << 20, 0).await.unwrap_err().code(), Code::OutOfRange);
}
