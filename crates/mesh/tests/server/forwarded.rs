//! Behind balancers of HTTP, which name their clients in headers.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use meshwork::Server;
use meshwork::server::auth::{Authenticated, Authenticator, Principal};
use meshwork::server::rate::{Key, Rate, RateLimitLayer, RateLimiter, Rule};
use meshwork::server::{
    CallerLimits, Calls, ClientAddress, Domain, HttpService, Listener, Peer, Resource, TrustedProxies,
};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service as _;

use crate::clients::Tcp;
use crate::support::{STREAM, UNARY, budgets, refused, send, stream, until, why};

/// Trusted; its neighbour is not.
const BALANCER: u8 = 95;
const STRANGER: u8 = 96;

fn trusted() -> TrustedProxies {
    TrustedProxies::new([format!("127.0.0.{BALANCER}"), "10.0.0.0/8".to_owned()]).unwrap().forwarded_for(true)
}

fn forwarded(said: &str, clients: &[&str]) -> tonic::Request<String> {
    let mut request = tonic::Request::new(said.to_owned());
    for client in clients {
        request.metadata_mut().append("x-forwarded-for", client.parse().unwrap());
    }
    request
}

fn limits(key: Key) -> RateLimitLayer {
    let rule = Rule::new("calls", Rate::per_second(2, 0.001).unwrap()).key(key);
    RateLimitLayer::new(RateLimiter::in_process(), [rule], Domain::default())
}

/// Whom a refusal is for.
fn limited(status: &Status) -> String {
    use tonic_types::StatusExt as _;
    assert_eq!(why(status), (Code::ResourceExhausted, "RATE_LIMITED".into()));
    status.get_details_error_info().unwrap().metadata["client"].clone()
}

#[tokio::test]
async fn limits_count_the_clients_of_a_trusted_balancer_whatever_they_write() {
    for builder in [
        Server::builder().limit_by_address(limits(Key::Address)),
        Server::builder().limit_by_principal(limits(Key::PrincipalOrAddress)),
    ] {
        let server = Tcp::start(builder.trusted_proxies(trusted())).await;
        let (balancer, stranger) = (server.channel(BALANCER), server.channel(STRANGER));
        // One client that writes something else each time.
        for written in ["1.1.1.1, 192.0.2.1", "2.2.2.2, 192.0.2.1, 10.0.0.7"] {
            send(&balancer, UNARY, forwarded("x", &[written])).await.unwrap();
        }
        let spoofed = forwarded("x", &["3.3.3.3", "192.0.2.1", "10.0.0.1"]);
        assert_eq!(limited(&send(&balancer, UNARY, spoofed).await.unwrap_err()), "address:192.0.2.1");
        // Another one behind the same balancer, over the same connection.
        for _ in 0..2 {
            send(&balancer, UNARY, forwarded("x", &["192.0.2.2"])).await.unwrap();
        }
        // A client that writes what our own proxies write, as if it were another one.
        let mut forged = forwarded("x", &["192.0.2.2"]);
        forged.metadata_mut().insert("meshwork-client-address", "192.0.2.3".parse().unwrap());
        assert_eq!(limited(&send(&balancer, UNARY, forged).await.unwrap_err()), "address:192.0.2.2");
        // Those are believed: they pass no other name on.
        let mut named = forwarded("x", &[]);
        named.metadata_mut().insert("meshwork-client-address", "192.0.2.2".parse().unwrap());
        assert_eq!(limited(&send(&balancer, UNARY, named).await.unwrap_err()), "address:192.0.2.2");
        // The balancer's own calls have its own address.
        for _ in 0..2 {
            send(&balancer, UNARY, forwarded("x", &[])).await.unwrap();
        }
        let own = send(&balancer, UNARY, forwarded("x", &["nonsense"])).await.unwrap_err();
        assert_eq!(limited(&own), format!("address:127.0.0.{BALANCER}"));
        // Nobody else is believed.
        for client in ["192.0.2.8", "192.0.2.9"] {
            send(&stranger, UNARY, forwarded("x", &[client])).await.unwrap();
        }
        let forged = send(&stranger, UNARY, forwarded("x", &["192.0.2.10"])).await.unwrap_err();
        assert_eq!(limited(&forged), format!("address:127.0.0.{STRANGER}"));
    }
}

/// Knows callers by the peers that it is shown.
struct ByPeer;

impl Authenticator for ByPeer {
    fn authenticate(&self, _: &HeaderMap, peer: Option<&Peer>) -> Authenticated {
        let peer = peer.unwrap();
        let hop = peer.hop().map(|hop| hop.ip().to_string());
        let shown = format!("{}-{}-{}", peer.address().unwrap().ip(), peer.is_proxy(), hop.unwrap_or_default());
        Authenticated::Now(Ok(Some(Principal::new(shown, ["customer"]))))
    }
}

#[tokio::test]
async fn authenticators_are_shown_for_whom_a_balancer_calls_and_that_it_does() {
    let limit = limits(Key::Principal);
    let builder = Server::builder().authenticator(Arc::new(ByPeer)).limit_by_principal(limit);
    let server = Tcp::start(builder.trusted_proxies(trusted())).await;
    let (balancer, stranger) = (server.channel(BALANCER), server.channel(STRANGER));
    let proxied = format!("192.0.2.1-true-127.0.0.{BALANCER}");
    let own = format!("127.0.0.{BALANCER}-false-");
    let strangers = format!("127.0.0.{STRANGER}-false-");
    for (channel, clients, shown) in
        [(&balancer, &["192.0.2.1"][..], proxied), (&balancer, &[], own), (&stranger, &["192.0.2.1"], strangers)]
    {
        for _ in 0..2 {
            send(channel, UNARY, forwarded("x", clients)).await.unwrap();
        }
        assert_eq!(limited(&send(channel, UNARY, forwarded("x", clients)).await.unwrap_err()), shown);
    }
}

#[tokio::test]
async fn budgets_of_calls_and_streams_are_those_of_the_clients() {
    let of_two = CallerLimits { total: 100, per_address: 2, ..CallerLimits::default() };
    let budgets = budgets(Resource::Streams, of_two);
    let server = Tcp::start(Server::builder().budgets(budgets.clone()).trusted_proxies(trusted())).await;
    let balancer = server.channel(BALANCER);
    let watch = async |client: &'static str| stream(&balancer, STREAM, forwarded("0", &[client])).await;
    let open = [watch("192.0.2.1").await.unwrap(), watch("192.0.2.1").await.unwrap()];
    let full = watch("192.0.2.1").await.unwrap_err();
    assert_eq!(refused(&full).2, "address", "{full:?}");
    let _other = [watch("192.0.2.2").await.unwrap(), watch("192.0.2.2").await.unwrap()];
    drop(open);
    until("they are given back", || budgets.in_use(Resource::Streams) == 2).await;
    watch("192.0.2.1").await.unwrap();
}

#[tokio::test]
async fn handlers_are_told_of_the_client() {
    let layer = tower::layer::layer_fn(|mut inner: meshwork::server::Router| {
        tower::service_fn(move |mut request: Request<Body>| {
            let client = request.extensions().get::<ClientAddress>().map(ToString::to_string);
            assert_eq!(client.as_deref(), Some("192.0.2.1"));
            request.headers_mut().remove("x-forwarded-for");
            inner.call(request)
        })
    });
    let listener = Listener::tcp("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().trusted_proxies(trusted()).layer(layer);
    let server = server.add_service(crate::support::Echo::default());
    let task = tokio::spawn(server.serve_with_shutdown(listener, std::future::pending()));
    let target = format!("static:///{address}");
    let connector = crate::clients::At::address(BALANCER);
    let channel = meshwork::Channel::builder().connector(connector).connect_lazy(&target).unwrap();
    send(&channel, UNARY, forwarded("x", &["192.0.2.1"])).await.unwrap();
    task.abort();
}

/// Makes a call without the headers of its request, which are none of the call's.
struct Front;

impl HttpService for Front {
    fn call(&self, _: Request<Body>, mut calls: Calls) -> BoxFuture<'static, Response<Body>> {
        let call = Request::post(UNARY).header("content-type", "application/grpc");
        let call = call.body(Body::new(http_body_util::Full::new(crate::wire::framed("x")))).unwrap();
        Box::pin(async move {
            match calls.call(call).await {
                Ok(answer) => answer,
                Err(never) => match never {},
            }
        })
    }
}

#[tokio::test]
async fn calls_that_are_made_for_a_request_of_http_count_for_its_client() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let builder = Server::builder().limit_by_address(limits(Key::Address)).trusted_proxies(trusted()).http(Front);
    let server = Tcp::start(builder).await;
    let ask = async |client: &str| {
        let mut io = server.connect(BALANCER).await;
        let head = format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-forwarded-for: {client}\r\n\r\n");
        io.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        io.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    for _ in 0..2 {
        assert!(!ask("192.0.2.1").await.contains("too%20many"), "it was limited");
    }
    let limited = ask("1.1.1.1, 192.0.2.1").await;
    assert!(limited.contains("192.0.2.1") && limited.contains("grpc-status: 8"), "{limited}");
    assert!(!ask("192.0.2.2").await.contains("grpc-status: 8"));
}
