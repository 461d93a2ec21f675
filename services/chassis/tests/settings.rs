//! The settings of a port reach what they are for.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use meshwork::Channel;
use meshwork::server::Resource;
use meshwork_api::meshwork::orders::v1::GetOrderRequest;
use meshwork_api::meshwork::orders::v1::order_service_client::OrderServiceClient;
use meshwork_chassis::auth::{GrpcKeys, Verifier};
use meshwork_chassis::config::Listen;
use meshwork_chassis::server::{self, ServerBuilder, ServerConfig};
use meshwork_chassis::{CancellationToken, Health};
use meshwork_testkit::Issuer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const LONG: Duration = Duration::from_secs(5);

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

/// A port by `config`, whose keys are those of `users`.
fn builder(config: &ServerConfig, users: &str) -> ServerBuilder {
    let keys = Arc::new(GrpcKeys::new(Channel::connect_lazy(users).unwrap()));
    let verifier = Verifier::new(keys, "issuer", "audience");
    server::builder(config, "tests.meshwork.dev", &verifier, &Health::new()).unwrap()
}

/// Serves to the end of the test.
fn serve(config: &ServerConfig, users: &str) -> SocketAddr {
    let listen = Listen::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let server = builder(config, users);
    tokio::spawn(server::serve(server, listen.listener().unwrap(), CancellationToken::new()));
    listen.address()
}

/// Where nobody listens.
const NOWHERE: &str = "http://127.0.0.1:1";

/// How many calls a connection may have, and the windows of its streams and of itself, as its client is told.
async fn settings(address: SocketAddr) -> (u32, u32, u32) {
    const SETTINGS: u8 = 4;
    const WINDOW_UPDATE: u8 = 8;
    const FIRST_WINDOW: u32 = 65_535;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let (mut settings, mut window) = (BTreeMap::new(), 0);
    while settings.is_empty() || window == 0 {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).await.unwrap();
        match head[3] {
            SETTINGS => settings.extend(payload.chunks_exact(6).map(|setting| {
                let name = u16::from_be_bytes([setting[0], setting[1]]);
                (name, u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]))
            })),
            WINDOW_UPDATE => window = FIRST_WINDOW + u32::from_be_bytes(payload.try_into().unwrap()),
            _ => {}
        }
    }
    (settings[&3], settings[&4], window)
}

#[tokio::test]
async fn connections_have_the_streams_and_windows_that_are_set() {
    let config = ServerConfig {
        max_calls_per_connection: number(7),
        stream_window: number(100_000),
        connection_window: number(300_000),
        ..ServerConfig::default()
    };
    let told = timeout(LONG, settings(serve(&config, NOWHERE))).await.unwrap();
    assert_eq!(told, (7, 100_000, 300_000));
}

#[tokio::test]
async fn what_is_not_set_is_as_the_mesh_has_it_and_public_ports_take_fewer_calls_of_a_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(meshwork::Server::builder().serve_with_shutdown(listener, std::future::pending()));
    let of_mesh = timeout(LONG, settings(address)).await.unwrap();
    let own = timeout(LONG, settings(serve(&ServerConfig::default(), NOWHERE))).await.unwrap();
    assert_eq!(own, of_mesh);
    let public = timeout(LONG, settings(serve(&ServerConfig::default().public(), NOWHERE))).await.unwrap();
    assert_eq!(public, (256, of_mesh.1, of_mesh.2));
}

#[tokio::test]
async fn a_silent_connection_gives_way_to_one_more_than_may_be_and_has_little_time() {
    let few = ServerConfig { max_handshakes: NonZeroU32::MIN, ..ServerConfig::default() };
    let of_address = ServerConfig { max_handshakes_per_address: 1, ..ServerConfig::default() };
    let short = ServerConfig { handshake_timeout: Duration::from_millis(200), ..ServerConfig::default() };
    for (config, what) in [(few, "in all"), (of_address, "of an address"), (short, "time")] {
        let address = serve(&config, NOWHERE);
        let mut first = TcpStream::connect(address).await.unwrap();
        let _second = TcpStream::connect(address).await.unwrap();
        let read = timeout(LONG, first.read(&mut [0; 1])).await;
        assert!(matches!(read, Ok(Ok(0) | Err(_))), "{what}: {read:?}");
    }
}

#[tokio::test]
async fn watches_are_bounded_and_whoever_opened_the_budgets_sees_it() {
    let mut config = ServerConfig { max_watches: 9, max_watches_per_connection: 1, ..ServerConfig::default() };
    let budgets = config.open_budgets();
    assert_eq!(budgets.limits().get(Resource::Watches).total, 9);
    let address = serve(&config, NOWHERE);
    let mut health = HealthClient::new(Channel::connect_lazy(&format!("http://{address}")).unwrap());
    let mut watched = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    watched.message().await.unwrap().unwrap();
    assert_eq!((budgets.in_use(Resource::Watches), budgets.refused(Resource::Watches)), (1, 0));
    let refused = health.watch(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert_eq!((budgets.in_use(Resource::Watches), budgets.refused(Resource::Watches)), (1, 1));
}

#[tokio::test]
async fn reflection_may_be_asked_as_often_as_is_set() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

    // What comes back while the test runs is less than it asks for.
    let config = ServerConfig {
        max_reflection_messages: number(5),
        max_reflection_messages_per_second: NonZeroU32::MIN,
        ..ServerConfig::default()
    };
    let address = serve(&config, NOWHERE);
    let mut client = ServerReflectionClient::new(Channel::connect_lazy(&format!("http://{address}")).unwrap());
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let requests = tokio_stream::iter(std::iter::repeat_n(request, 100));
    let answers = client.server_reflection_info(requests).await.map(tonic::Response::into_inner);
    let refused = async {
        let mut answers = answers?;
        while answers.message().await?.is_some() {}
        Ok::<_, tonic::Status>(())
    };
    let refused = timeout(LONG, refused).await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
}

#[tokio::test]
async fn a_token_is_verified_within_the_time_that_is_set() {
    let issuer = Issuer::start().await;
    // Takes connections, and answers nothing.
    let users = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = ServerConfig { verification_timeout: Duration::from_millis(100), ..ServerConfig::default() };
    let address = serve(&config, &format!("http://{}", users.local_addr().unwrap()));
    let mut orders = OrderServiceClient::new(Channel::connect_lazy(&format!("http://{address}")).unwrap());
    let mut request = Request::new(GetOrderRequest::default());
    let token = format!("Bearer {}", issuer.token("anna", "customer"));
    request.metadata_mut().insert("authorization", token.parse().unwrap());
    let refused = timeout(LONG, orders.get_order(request)).await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.message().contains("within 100ms"), "{refused}");
}

#[test]
fn bounds_with_which_nothing_could_be_served_are_refused() {
    for key in
        ["max_handshakes", "max_calls_per_connection", "stream_window", "connection_window", "max_reflection_messages"]
    {
        let read = serde_json::from_str::<ServerConfig>(&format!("{{\"{key}\": 0}}"));
        assert!(read.unwrap_err().to_string().contains("nonzero"), "{key}");
    }
    // Budgets are no setting.
    assert!(serde_json::from_str::<ServerConfig>("{\"budgets\": null}").is_err());
    let mut config = ServerConfig::default();
    config.open_budgets();
    assert!(serde_json::to_value(&config).unwrap().get("budgets").is_none());
}

#[tokio::test]
async fn times_in_which_nothing_can_be_done_are_refused_by_their_keys() {
    let handshake = ServerConfig { handshake_timeout: Duration::ZERO, ..ServerConfig::default() };
    let verification = ServerConfig { verification_timeout: Duration::ZERO, ..ServerConfig::default() };
    for (config, key) in [(handshake, "server.handshake_timeout"), (verification, "server.verification_timeout")] {
        let keys = Arc::new(GrpcKeys::new(Channel::connect_lazy(NOWHERE).unwrap()));
        let verifier = Verifier::new(keys, "issuer", "audience");
        let refused = server::builder(&config, "tests.meshwork.dev", &verifier, &Health::new()).unwrap_err();
        assert!(refused.sentence.contains(key), "{refused}");
    }
}
