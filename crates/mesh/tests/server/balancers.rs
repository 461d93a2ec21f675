//! Behind balancers that name their clients by the PROXY protocol, version 2.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meshwork::Server;
use meshwork::server::{
    Budgets, Builder, CallerLimits, ConnectionObserver, Limits, Listener, Peer, ProxyProtocol, RefusedConnection,
    Resource, TrustedProxies,
};
use meshwork::transport::Io;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;

use crate::clients::Tcp;
use crate::support::{UNARY, until};
use crate::wire::{Answer, Wire, head};

/// Where the balancer is; others are not trusted.
const BALANCER: u8 = 90;

/// What becomes of connections.
#[derive(Default)]
struct Seen {
    opened: Mutex<Vec<(Option<SocketAddr>, Option<SocketAddr>)>>,
    refused: Mutex<Vec<RefusedConnection>>,
}

impl ConnectionObserver for Seen {
    fn opened(&self, peer: &Peer) {
        self.opened.lock().unwrap().push((peer.address(), peer.hop()));
    }

    fn refused(&self, _: Option<SocketAddr>, why: RefusedConnection) {
        self.refused.lock().unwrap().push(why);
    }
}

impl Seen {
    fn opened(&self) -> Vec<String> {
        let opened = self.opened.lock().unwrap();
        opened
            .iter()
            .map(|(address, hop)| format!("{} by {:?}", address.unwrap(), hop.map(|hop| hop.ip().to_string())))
            .collect()
    }

    fn refused(&self) -> Vec<RefusedConnection> {
        self.refused.lock().unwrap().clone()
    }
}

async fn start(builder: Builder) -> (Tcp, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let trusted = TrustedProxies::new([format!("127.0.0.{BALANCER}")]).unwrap();
    let listener = Listener::tcp("127.0.0.1:0").await.unwrap().proxy_protocol(ProxyProtocol::V2, trusted);
    (Tcp::on(builder.connection_observer(seen.clone()), listener), seen)
}

/// The header for a client, in front of a connection that goes to port 443.
fn header(client: &str) -> Vec<u8> {
    let client: SocketAddr = client.parse().unwrap();
    let (family, ip, own) = match client.ip() {
        std::net::IpAddr::V4(ip) => (0x11, ip.octets().to_vec(), vec![10, 0, 0, 1]),
        std::net::IpAddr::V6(ip) => (0x21, ip.octets().to_vec(), vec![7; 16]),
    };
    // And a TLV, NOOP, that is passed over.
    let rest = [ip, own, client.port().to_be_bytes().to_vec(), vec![1, 187], vec![4, 0, 2, 0, 0]].concat();
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n".to_vec(), vec![0x21, family], length.to_vec(), rest].concat()
}

/// A connection by the balancer, which begins with these bytes.
async fn by_balancer(server: &Tcp, bytes: &[u8]) -> Box<dyn Io> {
    let mut io = server.connect(BALANCER).await;
    io.write_all(bytes).await.unwrap();
    io
}

async fn call(io: Box<dyn Io>) -> Wire {
    let wire = Wire::new(io).await;
    let answer = wire.call(head(UNARY), "x").await.unwrap();
    assert_eq!(Answer::read(answer, Some(Duration::ZERO)).await.unwrap().status().code(), Code::Ok);
    wire
}

/// Reads until the server has closed the connection.
async fn closed(mut io: Box<dyn Io>) -> Vec<u8> {
    let mut read = Vec::new();
    let _ = io.read_to_end(&mut read).await;
    read
}

#[tokio::test]
async fn the_peer_is_the_client_and_the_balancer_its_hop() {
    let (server, seen) = start(Server::builder()).await;
    let _first = call(by_balancer(&server, &header("192.0.2.1:7")).await).await;
    let _second = call(by_balancer(&server, &header("[2001:db8::1]:7")).await).await;
    // Its own: LOCAL, as of health checks.
    let _third = call(by_balancer(&server, b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00").await).await;
    let opened = seen.opened();
    let hop = format!("by Some(\"127.0.0.{BALANCER}\")");
    assert_eq!(opened[..2], [format!("192.0.2.1:7 {hop}"), format!("[2001:db8::1]:7 {hop}")]);
    assert!(opened[2].starts_with(&format!("127.0.0.{BALANCER}:")) && opened[2].ends_with("by None"), "{opened:?}");
    assert!(seen.refused().is_empty());
}

#[tokio::test]
async fn a_header_in_pieces_is_read_and_what_is_no_header_is_closed_without_a_word() {
    let (server, seen) = start(Server::builder()).await;
    let (good, mut pieces) =
        (call(by_balancer(&server, &header("192.0.2.1:7")).await).await, server.connect(BALANCER).await);
    for byte in header("192.0.2.2:7") {
        pieces.write_all(&[byte]).await.unwrap();
        pieces.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    call(pieces).await;
    let mut unknown = header("192.0.2.1:7");
    unknown[13] = 0x00;
    let mut long = header("192.0.2.1:7");
    long[14] = 0xff;
    let bad = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 10.0.0.1 7 443\r\n".to_vec(),
        unknown,
        long,
    ];
    for (count, bytes) in bad.iter().enumerate() {
        let io = by_balancer(&server, bytes).await;
        assert!(closed(io).await.is_empty(), "{bytes:?}");
        assert_eq!(seen.refused(), vec![RefusedConnection::InvalidProxyHeader; count + 1]);
    }
    // It breaks off.
    let mut io = by_balancer(&server, &header("192.0.2.1:7")[..20]).await;
    io.shutdown().await.unwrap();
    assert!(closed(io).await.is_empty());
    assert_eq!(seen.refused().len(), bad.len() + 1);
    // Who is there already, and who comes, is served.
    let answer = good.call(head(UNARY), "y").await.unwrap();
    assert_eq!(Answer::read(answer, Some(Duration::ZERO)).await.unwrap().status().code(), Code::Ok);
    call(by_balancer(&server, &header("192.0.2.3:7")).await).await;
}

#[tokio::test]
async fn a_header_of_who_is_not_trusted_is_not_read() {
    let (server, seen) = start(Server::builder()).await;
    let mut io = server.connect(BALANCER + 1).await;
    let _ = io.write_all(&header("192.0.2.1:7")).await;
    assert!(closed(io).await.is_empty());
    assert_eq!(seen.refused(), [RefusedConnection::UntrustedProxy]);
    call(by_balancer(&server, &header("192.0.2.1:7")).await).await;
}

#[tokio::test]
async fn a_header_that_does_not_come_in_time_is_not_waited_for_and_others_are_served_meanwhile() {
    let (server, seen) =
        start(Server::builder().handshake_timeout(Duration::from_millis(500)).max_handshakes(2, 1)).await;
    // Two may be silent, though an address may have one: they are nobody's yet.
    let silent = [by_balancer(&server, b"").await, by_balancer(&server, &header("192.0.2.1:7")[..14]).await];
    call(by_balancer(&server, &header("192.0.2.2:7")).await).await;
    for io in silent {
        assert!(closed(io).await.is_empty());
    }
    until("both were refused", || seen.refused().len() == 2).await;
    let refused = seen.refused();
    assert!(
        refused.iter().all(|why| matches!(why, RefusedConnection::TimedOut | RefusedConnection::Evicted)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn clients_have_their_own_budgets_and_the_balancer_has_none() {
    let limits = CallerLimits { total: 100, per_address: 2, ..CallerLimits::default() };
    let budgets = Budgets::new(Limits::default().with(Resource::Connections, limits));
    let (server, seen) = start(Server::builder().budgets(budgets)).await;
    let mut open = Vec::new();
    for client in ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1", "192.0.2.2:2", "192.0.2.3:1"] {
        open.push(call(by_balancer(&server, &header(client)).await).await);
    }
    let third = Wire::new(by_balancer(&server, &header("192.0.2.1:3")).await).await;
    let ended = third.connection.await.unwrap().unwrap_err();
    assert_eq!(ended.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM), "{ended}");
    assert_eq!(seen.refused(), [RefusedConnection::TooManyOfAddress]);
    call(by_balancer(&server, &header("192.0.2.3:2")).await).await;
}

#[tokio::test]
async fn a_listener_that_does_not_demand_the_header_refuses_it() {
    let seen = Arc::new(Seen::default());
    let server = Tcp::start(Server::builder().connection_observer(seen.clone())).await;
    for bytes in [header("192.0.2.1:7"), b"PROXY TCP4 192.0.2.1 10.0.0.1 7 443\r\n".to_vec()] {
        assert!(closed(by_balancer(&server, &bytes).await).await.is_empty());
    }
    assert_eq!(seen.refused(), [RefusedConnection::NotHttp2; 2]);
}
