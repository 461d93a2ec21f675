//! Reflection shows the contracts of the moment, in both versions.

use meshwork::server::auth::{Access, AccessTable};
use meshwork::server::{ContractSet, Contracts};
use meshwork::{Channel, Server};
use prost::Message as _;
use prost_types::FileDescriptorProto;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tonic_reflection::pb::{v1, v1alpha};

use super::support::{METHODS, SHOP, Upstream, described, file, offering, shop};
use crate::clients::Tcp;
use crate::support::SERVICE;

/// What a tool asks.
enum Ask<'a> {
    Services,
    Symbol(&'a str),
    File(&'a str),
}

/// The answer: names of services, or the encoded files.
type Answer = Result<Vec<Vec<u8>>, Status>;

macro_rules! asks {
    ($ask:ident, $request:ident, $version:ident) => {
        fn $request(ask: &Ask<'_>) -> $version::ServerReflectionRequest {
            use $version::server_reflection_request::MessageRequest;
            let message = match ask {
                Ask::Services => MessageRequest::ListServices(String::new()),
                Ask::Symbol(name) => MessageRequest::FileContainingSymbol((*name).to_owned()),
                Ask::File(name) => MessageRequest::FileByFilename((*name).to_owned()),
            };
            $version::ServerReflectionRequest { host: String::new(), message_request: Some(message) }
        }

        async fn $ask(answers: &mut Streaming<$version::ServerReflectionResponse>) -> Answer {
            use $version::server_reflection_response::MessageResponse;
            match answers.message().await?.unwrap().message_response.unwrap() {
                MessageResponse::ListServicesResponse(list) => {
                    Ok(list.service.into_iter().map(|service| service.name.into_bytes()).collect())
                }
                MessageResponse::FileDescriptorResponse(files) => Ok(files.file_descriptor_proto),
                other => panic!("{other:?}"),
            }
        }
    };
}

asks!(answer_v1, request_v1, v1);
asks!(answer_v1alpha, request_v1alpha, v1alpha);

/// What both versions answer, each on a stream of its own.
async fn ask(channel: &Channel, ask: Ask<'_>) -> Answer {
    use v1::server_reflection_client::ServerReflectionClient;
    use v1alpha::server_reflection_client::ServerReflectionClient as Alpha;
    let requests = tokio_stream::iter([request_v1(&ask)]);
    let mut answers = ServerReflectionClient::new(channel.clone()).server_reflection_info(requests).await?.into_inner();
    let one = answer_v1(&mut answers).await;
    let requests = tokio_stream::iter([request_v1alpha(&ask)]);
    let mut answers = Alpha::new(channel.clone()).server_reflection_info(requests).await?.into_inner();
    let other = answer_v1alpha(&mut answers).await;
    assert_eq!(one.as_ref().map_err(Status::code), other.as_ref().map_err(Status::code));
    one
}

/// The services that both versions name.
async fn services(channel: &Channel) -> Vec<String> {
    texts(ask(channel, Ask::Services).await.unwrap())
}

fn texts(names: Vec<Vec<u8>>) -> Vec<String> {
    names.into_iter().map(|name| String::from_utf8(name).unwrap()).collect()
}

/// The name of the file that has a symbol.
async fn file_of(channel: &Channel, symbol: &str) -> String {
    let files = ask(channel, Ask::Symbol(symbol)).await.unwrap();
    FileDescriptorProto::decode(files[0].as_slice()).unwrap().name().to_owned()
}

const OWN: [&str; 3] =
    ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

async fn start() -> (Tcp, Contracts) {
    let contracts = Contracts::new();
    let builder = offering(Server::builder().access(AccessTable::new()), &contracts, &Upstream::default());
    (Tcp::start(builder).await, contracts)
}

#[tokio::test]
async fn both_versions_show_what_is_set_beside_what_the_server_has() {
    let (server, contracts) = start().await;
    let channel = server.channel(81);
    let built = [&OWN[..], &[SERVICE]].concat();
    assert_eq!(services(&channel).await, built);
    contracts.set(shop(&Access::Public)).unwrap();
    assert_eq!(services(&channel).await, [&built[..], &[SHOP]].concat());
    for symbol in [SHOP, "far.v1.Shop.Stream"] {
        assert_eq!(file_of(&channel, symbol).await, "far/v1/shop.proto");
    }
    let sent = file("far/v1/shop.proto", "far.v1", "Shop", &METHODS).encode_to_vec();
    assert_eq!(ask(&channel, Ask::File("far/v1/shop.proto")).await.unwrap(), [sent]);
    assert_eq!(file_of(&channel, SERVICE).await, "test.proto");
    contracts.set(ContractSet::default()).unwrap();
    assert_eq!(services(&channel).await, built);
    assert_eq!(ask(&channel, Ask::Symbol(SHOP)).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_stream_that_is_open_goes_on_as_it_began() {
    use v1::server_reflection_client::ServerReflectionClient;
    let (server, contracts) = start().await;
    let channel = server.channel(82);
    contracts.set(shop(&Access::Public)).unwrap();
    let (requests, received) = mpsc::channel(1);
    requests.send(request_v1(&Ask::Services)).await.unwrap();
    let mut client = ServerReflectionClient::new(channel.clone());
    let mut answers = client.server_reflection_info(ReceiverStream::new(received)).await.unwrap().into_inner();
    let before = texts(answer_v1(&mut answers).await.unwrap());
    assert!(before.contains(&SHOP.to_owned()), "{before:?}");
    contracts.set(ContractSet::default()).unwrap();
    requests.send(request_v1(&Ask::Services)).await.unwrap();
    assert_eq!(texts(answer_v1(&mut answers).await.unwrap()), before);
    requests.send(request_v1(&Ask::Symbol(SHOP))).await.unwrap();
    assert_eq!(answer_v1(&mut answers).await.unwrap().len(), 1);
    assert!(!services(&channel).await.contains(&SHOP.to_owned()));
}

#[tokio::test]
async fn s9_the_contracts_that_a_server_was_built_with_are_shown_whatever_is_set() {
    let (server, contracts) = start().await;
    let channel = server.channel(83);
    let before = services(&channel).await;
    let health = file_of(&channel, OWN[0]).await;
    // The same names, in other files.
    let mut set = ContractSet { shown: before.clone(), ..ContractSet::default() };
    for (name, package, service) in
        [("1.proto", "test", "Echo"), ("2.proto", "grpc.health.v1", "Health"), ("3.proto", "", "grpc.health.v1.Health")]
    {
        set.descriptors.push(described(name, package, service, &METHODS));
    }
    contracts.set(set).unwrap();
    assert_eq!(services(&channel).await, before);
    assert_eq!(file_of(&channel, SERVICE).await, "test.proto");
    assert_eq!(file_of(&channel, OWN[0]).await, health);
    // One that can't be offered changes nothing.
    let wrong = ContractSet { descriptors: vec![described("test.proto", "a", "A", &METHODS)], ..shop(&Access::Public) };
    assert!(contracts.set(wrong).is_err());
    assert_eq!(services(&channel).await, before);
}
