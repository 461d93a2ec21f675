//! Calls to real servers, found through an API server over real HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use meshwork::Channel;
use meshwork::observe::Connectivity;
use meshwork::resolve::Kubernetes;
use tokio::time::{sleep, timeout};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::api::{Api, slice};

/// Longer than anything takes on a loaded machine.
const LONG: Duration = Duration::from_secs(60);

/// A gRPC server on a port of its own.
fn serve() -> SocketAddr {
    let (_, service) = tonic_health::server::health_reporter();
    let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = incoming.local_addr().unwrap();
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    address
}

/// Waits until the channel has a connection to each of these, and to no other.
async fn connected(channel: &Channel, servers: &[SocketAddr]) {
    let mut expected: Vec<_> = servers.iter().map(ToString::to_string).collect();
    expected.sort_unstable();
    let ready = async {
        loop {
            let endpoints = channel.endpoints();
            let mut names: Vec<_> = endpoints.iter().map(|endpoint| endpoint.name.to_string()).collect();
            names.sort_unstable();
            if names == expected && endpoints.iter().all(|endpoint| endpoint.state == Connectivity::Ready) {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    if timeout(LONG, ready).await.is_err() {
        panic!("{expected:?} was expected: {:?}", channel.endpoints());
    }
}

#[tokio::test]
async fn calls_go_to_the_pods_that_there_are_and_follow_them_through_a_cut() {
    let (one, two, three) = (serve(), serve(), serve());
    let api = Api::new();
    let of =
        |name: &str, version: &str, server: SocketAddr, address: &str| slice(name, version, server.port(), &[address]);
    api.list("5", &[of("one", "3", one, "127.0.0.1"), of("two", "4", two, "127.0.0.1")]);
    let first = api.watch();
    let second = api.watch();

    let mut config = kube::Config::new(format!("http://{}", api.listen().await).parse().unwrap());
    // The machine's own roots are not needed, and there may be none.
    config.root_cert = Some(Vec::new());
    let client = kube::Client::try_from(config).unwrap();
    let resolver = Kubernetes::new(client, "orders.shop:grpc").unwrap();
    let channel = Channel::builder().resolver(resolver).connect("k8s:///orders.shop:grpc").await.unwrap();
    let mut calls = HealthClient::new(channel.clone());

    connected(&channel, &[one, two]).await;
    for _ in 0..200 {
        calls.check(HealthCheckRequest::default()).await.unwrap();
    }
    assert!(channel.endpoints().iter().all(|endpoint| !endpoint.latency.is_zero()), "both were called");

    first.modified(&of("two", "6", two, "-127.0.0.1"));
    connected(&channel, &[one]).await;
    first.cut();
    let asked = timeout(LONG, api.asked(3)).await.unwrap();
    assert_eq!((asked[2].is_watch(), asked[2].query("resourceVersion")), (true, "6"));
    calls.check(HealthCheckRequest::default()).await.unwrap();

    second.added(&of("three", "7", three, "127.0.0.1"));
    second.deleted(&of("one", "8", one, "127.0.0.1"));
    connected(&channel, &[three]).await;
    calls.check(HealthCheckRequest::default()).await.unwrap();

    drop((calls, channel));
    timeout(LONG, second.given_up()).await.unwrap();
}
