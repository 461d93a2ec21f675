//! Calls with side effects whose answer is lost: they are repeated by their request id (AIP-155), or not at all.

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::request::Parts;
use http::uri::PathAndQuery;
use meshwork::connect::Memory;
use meshwork::policy::Policy;
use meshwork::retry::RequestIds;
use meshwork::server::proxy::{Proxy, Route, Routes, Upstream};
use meshwork::server::{Builder, Server};
use meshwork::{Channel, WaitForReady};
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::method_options::IdempotencyLevel;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
    MethodOptions, ServiceDescriptorProto,
};
use tokio::time::sleep;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::support::ms;

/// A method whose request has a request id.
const PUT: &str = "/test.Store/Put";
/// One whose request has none.
const SET: &str = "/test.Store/Set";
/// Where the two servers listen.
const STORE: &str = "10.0.0.1:50051";
const PROXY: &str = "10.0.0.2:50051";
/// By a policy that says nothing about repeating calls.
const PATIENT: &str = r#"{"methodConfig": [{"name": [{}], "waitForReady": true}]}"#;

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    request_id: String,
}

/// Takes all calls and answers all but the first.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<Vec<String>>>);

impl Store {
    /// The request ids of the calls that came.
    fn ids(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Whether it is the first call.
    fn put(&self, request: PutRequest) -> bool {
        assert_eq!(request.name, "lamp");
        let mut ids = self.0.lock().unwrap();
        ids.push(request.request_id);
        ids.len() == 1
    }
}

impl NamedService for Store {
    const NAME: &'static str = "test.Store";
}

impl Service<http::Request<Body>> for Store {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let store = self.clone();
        Box::pin(async move {
            let handler = tower::service_fn(move |request: Request<PutRequest>| {
                let is_first = store.put(request.into_inner());
                async move {
                    if is_first {
                        pending::<()>().await;
                    }
                    Ok::<_, Status>(Response::new(PutRequest::default()))
                }
            });
            let mut grpc = Grpc::new(ProstCodec::<PutRequest, PutRequest>::default());
            Ok(grpc.unary(handler, request).await)
        })
    }
}

/// Passes all calls on to the store.
struct ToStore(Upstream);

impl Routes for ToStore {
    fn has(&self, path: &str) -> bool {
        path.starts_with("/test.Store/")
    }

    fn route(&self, _: &mut Parts) -> Result<Route, Status> {
        Ok(Route::to(self.0.clone()))
    }
}

fn descriptors() -> Vec<u8> {
    let field = |name: &str, number: i32| FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        r#type: Some(Type::String.into()),
        label: Some(Label::Optional.into()),
        ..FieldDescriptorProto::default()
    };
    let message = |name: &str, field: Vec<FieldDescriptorProto>| DescriptorProto {
        name: Some(name.to_owned()),
        field,
        ..DescriptorProto::default()
    };
    let options =
        MethodOptions { idempotency_level: Some(IdempotencyLevel::Idempotent.into()), ..MethodOptions::default() };
    let method = |name: &str| MethodDescriptorProto {
        name: Some(name.to_owned()),
        input_type: Some(format!(".test.{name}Request")),
        output_type: Some(".test.PutRequest".to_owned()),
        options: Some(options.clone()),
        ..MethodDescriptorProto::default()
    };
    let service = ServiceDescriptorProto {
        name: Some("Store".to_owned()),
        method: vec![method("Put"), method("Set")],
        ..ServiceDescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("test.proto".to_owned()),
        package: Some("test".to_owned()),
        message_type: vec![
            message("PutRequest", vec![field("name", 1), field("request_id", 3)]),
            message("SetRequest", vec![field("name", 1)]),
        ],
        service: vec![service],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
}

fn serve(network: &Memory, name: &str, builder: Builder) {
    let listener = network.listen(name).unwrap();
    let server = builder.descriptors(descriptors()).reflection(false);
    tokio::spawn(server.serve_with_shutdown(listener, pending()));
}

/// A store and the network that it is in.
fn store() -> (Memory, Store) {
    let (network, store) = (Memory::new(), Store::default());
    serve(&network, STORE, Server::builder().add_service(store.clone()));
    (network, store)
}

/// Settings of a channel that knows the methods by their descriptors.
fn builder(network: &Memory, policy: &str) -> meshwork::Builder {
    Channel::builder().connector(network.clone()).policy(Policy::parse(policy).unwrap()).descriptors(descriptors())
}

fn channel(builder: meshwork::Builder, name: &str) -> Channel {
    builder.connect_lazy(&format!("static:///{name}")).unwrap()
}

async fn call(channel: &Channel, path: &'static str, request_id: &str) -> Result<(), Status> {
    let message = PutRequest { name: "lamp".to_owned(), request_id: request_id.to_owned() };
    let mut request = Request::new(message);
    request.extensions_mut().insert(WaitForReady(true));
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await?;
    let codec = ProstCodec::<PutRequest, PutRequest>::default();
    client.unary(request, PathAndQuery::from_static(path), codec).await?;
    Ok(())
}

/// A call whose connection to the store is cut after the request went through.
async fn cut_call(
    (network, store): &(Memory, Store),
    channel: &Channel,
    path: &'static str,
    request_id: &str,
) -> Result<(), Status> {
    let cut = async {
        while store.ids().is_empty() {
            sleep(ms(1)).await;
        }
        assert_eq!(network.cut(STORE), 1);
    };
    tokio::join!(call(channel, path, request_id), cut).0
}

#[tokio::test(start_paused = true)]
async fn e4_a_call_whose_answer_is_lost_is_repeated_by_the_id_that_the_channel_gave_it() {
    let world = store();
    let channel = channel(builder(&world.0, PATIENT), STORE);
    cut_call(&world, &channel, PUT, "").await.unwrap();
    let ids = world.1.ids();
    assert_eq!(ids.len(), 2);
    assert_eq!((ids[0].len(), &ids[0]), (36, &ids[1]), "one call has one id");
    call(&channel, PUT, "").await.unwrap();
    assert_ne!(world.1.ids()[2], ids[0], "another call has another");
}

#[tokio::test(start_paused = true)]
async fn e4_an_id_of_the_caller_stays_as_it_is() {
    let world = store();
    cut_call(&world, &channel(builder(&world.0, PATIENT), STORE), PUT, "mine").await.unwrap();
    assert_eq!(world.1.ids(), ["mine", "mine"]);
}

#[tokio::test(start_paused = true)]
async fn e4_a_call_whose_contract_has_no_request_id_is_made_once() {
    let world = store();
    let status = cut_call(&world, &channel(builder(&world.0, PATIENT), STORE), SET, "").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    sleep(ms(10_000)).await;
    assert_eq!(world.1.ids(), [""]);
}

#[tokio::test(start_paused = true)]
async fn e4_a_channel_that_gives_no_ids_repeats_by_those_of_callers_only() {
    for (id, attempts) in [("", 1), ("mine", 2)] {
        let world = store();
        let channel = channel(builder(&world.0, PATIENT).request_ids(RequestIds::Require), STORE);
        let result = cut_call(&world, &channel, PUT, id).await;
        assert_eq!(result.map_err(|status| status.code()), if attempts == 2 { Ok(()) } else { Err(Code::Unavailable) });
        assert_eq!(world.1.ids(), vec![id; attempts]);
    }
}

#[tokio::test(start_paused = true)]
async fn e4_a_request_that_its_id_would_make_too_long_is_sent_without_it_and_once() {
    let world = store();
    let channel = channel(builder(&world.0, PATIENT).max_encoding_message_size(40), STORE);
    let status = cut_call(&world, &channel, PUT, "").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(world.1.ids(), [""]);
}

#[tokio::test(start_paused = true)]
async fn e4_a_policy_that_repeats_a_method_is_kept_with_an_id_and_without() {
    let policy = r#"{"methodConfig": [{"name": [{}], "waitForReady": true, "retryPolicy": {"maxAttempts": 2,
        "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}]}"#;
    let world = store();
    cut_call(&world, &channel(builder(&world.0, policy), STORE), PUT, "").await.unwrap();
    let ids = world.1.ids();
    assert_eq!((ids.len(), ids[0].len(), &ids[0]), (2, 36, &ids[1]));
    let world = store();
    cut_call(&world, &channel(builder(&world.0, policy), STORE), SET, "").await.unwrap();
    assert_eq!(world.1.ids(), ["", ""]);
}

#[tokio::test(start_paused = true)]
async fn e4_hedges_have_the_id_of_their_call() {
    let policy = r#"{"methodConfig": [{"name": [{}], "hedgingPolicy":
        {"maxAttempts": 2, "hedgingDelay": "0.1s", "nonFatalStatusCodes": ["UNAVAILABLE"]}}]}"#;
    let (network, store) = store();
    call(&channel(builder(&network, policy), STORE), PUT, "").await.unwrap();
    let ids = store.ids();
    assert_eq!((ids.len(), ids[0].len(), &ids[0]), (2, 36, &ids[1]));
}

#[tokio::test(start_paused = true)]
async fn e4_a_proxy_gives_no_ids_and_repeats_by_those_of_callers_only() {
    for (id, attempts) in [("", 1), ("mine", 2)] {
        let world = store();
        let upstream = Upstream::new("store", channel(builder(&world.0, PATIENT), STORE));
        let proxy = Proxy::new(ToStore(upstream));
        let routes = proxy.clone();
        serve(&world.0, PROXY, Server::builder().fallback(proxy, move |path| routes.has(path)));
        // It knows nothing of the methods, as callers of other kinds.
        let caller = channel(Channel::builder().connector(world.0.clone()), PROXY);
        let result = cut_call(&world, &caller, PUT, id).await;
        assert_eq!(result.map_err(|status| status.code()), if attempts == 2 { Ok(()) } else { Err(Code::Unavailable) });
        sleep(ms(10_000)).await;
        assert_eq!(world.1.ids(), vec![id; attempts]);
    }
}
