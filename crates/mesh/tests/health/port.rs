//! The health port.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use meshwork::server::HealthPort;
use meshwork::server::health::{Health, ServingStatus};
use meshwork::server::ops::Ops;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, IntoRequest as _, Request};
use tonic_health::pb::health_check_response::ServingStatus::{NotServing, Serving};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_check_response};

use crate::support::{LONG, Served, breakable, client, get, serve, serve_ops, serve_port};

const SERVICE: &str = "shop.v1.Orders";
/// The preface, and an empty SETTINGS frame (RFC 9113, sections 3.4 and 6.5).
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const NAMES: [&str; 5] = ["startup", "liveness", "readiness", "", SERVICE];

fn request(service: &str) -> Request<HealthCheckRequest> {
    HealthCheckRequest { service: service.to_owned() }.into_request()
}

async fn check(served: &Served, service: &str) -> Result<health_check_response::ServingStatus, tonic::Status> {
    let answer = timeout(LONG, client(served).check(request(service))).await.unwrap();
    answer.map(|answer| answer.into_inner().status())
}

async fn all(served: &Served) -> Vec<health_check_response::ServingStatus> {
    let mut states = Vec::new();
    for name in NAMES {
        states.push(check(served, name).await.unwrap());
    }
    states
}

/// A connection of its own, which is at work: one call was answered on it.
async fn connected(address: SocketAddr) -> Option<Channel> {
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.ok()?;
    HealthClient::new(channel.clone()).check(request("")).await.ok()?;
    Some(channel)
}

/// A connection that has begun to speak HTTP/2, and says no more.
async fn greeted(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(GREETING).await.unwrap();
    // Its settings are the server's answer.
    stream.read_exact(&mut [0; 9]).await.unwrap();
    stream
}

/// Waits until the other end closes the connection; what it said before is dropped.
async fn closed(stream: &mut TcpStream) {
    let mut said = Vec::new();
    match timeout(LONG, stream.read_to_end(&mut said)).await.unwrap() {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
}

#[tokio::test]
async fn every_name_is_answered_as_it_is_from_the_start_to_the_stop() {
    let health = Health::new();
    health.register(SERVICE);
    let broken = Arc::new(AtomicBool::new(true));
    health.check(breakable("own", &broken).required(true));
    let port = serve_port(HealthPort::new().health(health.clone())).await;
    let alive = [NotServing, Serving, NotServing, NotServing, NotServing];
    // The port answers before there is a server, and does not open it.
    assert_eq!(all(&port).await, alive);
    let served = serve(health.clone()).await;
    assert_eq!(all(&port).await, alive);
    broken.store(false, Ordering::SeqCst);
    assert!(timeout(LONG, health.ready()).await.unwrap());
    assert_eq!(all(&port).await, [Serving; 5]);
    health.set(SERVICE, ServingStatus::NotServing);
    assert_eq!(all(&port).await, [Serving, Serving, Serving, Serving, NotServing]);
    served.shutdown.cancel();
    timeout(LONG, served.task).await.unwrap().unwrap();
    assert_eq!(all(&port).await, alive);
    port.shutdown.cancel();
    timeout(LONG, port.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(port.address).await.is_err());
}

#[tokio::test]
async fn several_servers_are_serving_when_all_who_know_the_name_are() {
    let (users, orders) = (Health::new(), Health::new());
    orders.register(SERVICE);
    let port = serve_port(HealthPort::new().health(users.clone()).health(orders.clone())).await;
    let mut states = client(&port).watch(request("readiness")).await.unwrap().into_inner();
    let mut next = async || timeout(LONG, states.message()).await.unwrap().unwrap().unwrap().status();
    assert_eq!(next().await, NotServing);
    orders.open();
    assert_eq!(check(&port, "readiness").await.unwrap(), NotServing);
    // Nobody else knows it.
    assert_eq!(check(&port, SERVICE).await.unwrap(), Serving);
    users.open();
    assert_eq!(next().await, Serving);
    users.drain();
    assert_eq!(next().await, NotServing);
    assert_eq!(all(&port).await, [NotServing, Serving, NotServing, NotServing, Serving]);
}

#[tokio::test]
async fn what_it_does_not_know_is_not_found_and_what_it_does_not_do_is_unimplemented() {
    let health = Health::new();
    let port = serve_port(HealthPort::new().health(health)).await;
    assert_eq!(check(&port, "nobody").await.unwrap_err().code(), Code::NotFound);
    // A port that answers for nobody knows nothing, and says so.
    let empty = serve_port(HealthPort::new()).await;
    assert_eq!(check(&empty, "").await.unwrap_err().code(), Code::NotFound);
    let channel = Endpoint::from_shared(format!("http://{}", port.address)).unwrap().connect_lazy();
    for path in [
        "/grpc.health.v1.Health/Other",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/shop.v1.Orders/Get",
    ] {
        let mut grpc = Grpc::new(channel.clone());
        timeout(LONG, grpc.ready()).await.unwrap().unwrap();
        let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
        let asked = grpc.unary(request(""), path.parse().unwrap(), codec);
        let refused = timeout(LONG, asked).await.unwrap().unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented, "{path}: {refused}");
    }
}

#[tokio::test]
async fn a_watch_sees_the_stop_and_ends_with_the_port() {
    let health = Health::new();
    health.open();
    let port = serve_port(HealthPort::new().health(health.clone())).await;
    let mut states = client(&port).watch(request("")).await.unwrap().into_inner();
    let mut next = async || timeout(LONG, states.message()).await.unwrap();
    assert_eq!(next().await.unwrap().unwrap().status(), Serving);
    health.drain();
    assert_eq!(next().await.unwrap().unwrap().status(), NotServing);
    port.shutdown.cancel();
    assert_eq!(next().await.unwrap_err().code(), Code::Unavailable);
    timeout(LONG, port.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn one_connection_too_many_takes_the_place_of_the_oldest() {
    let health = Health::new();
    let port = serve_port(HealthPort::new().health(health)).await;
    let began = Instant::now();
    let mut oldest = greeted(port.address).await;
    let mut others = Vec::new();
    for _ in 1..128 {
        others.push(greeted(port.address).await);
    }
    let newest = connected(port.address).await;
    assert!(newest.is_some(), "there was no place for one more");
    closed(&mut oldest).await;
    // Whoever has no call for 30 s is closed anyway.
    assert!(began.elapsed().as_secs() < 25, "this machine is too slow to show it: {:?}", began.elapsed());
}

#[tokio::test]
async fn a_crowd_that_comes_again_and_again_keeps_no_probe_out() {
    let port = serve_port(HealthPort::new().health(Health::new())).await;
    let address = port.address;
    let (mut crowd, gone) = (tokio::task::JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    for _ in 0..300 {
        let gone = gone.clone();
        // Each comes back as soon as it is closed.
        crowd.spawn(async move {
            loop {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
                let Ok(mut stream) = socket.connect(address).await else { continue };
                stream.write_all(GREETING).await.ok();
                stream.read_to_end(&mut Vec::new()).await.ok();
                gone.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    // All places are taken once as many as there are had to give way.
    let full = async {
        while gone.load(Ordering::Relaxed) < 128 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, full).await.unwrap();
    for probe in 0..20 {
        let answered = timeout(LONG, connected(address)).await.unwrap();
        assert!(answered.is_some(), "probe {probe} was kept out");
    }
}

#[tokio::test]
async fn many_who_are_silent_keep_nobody_out() {
    let port = serve_port(HealthPort::new().health(Health::new())).await;
    let (began, mut silent) = (Instant::now(), Vec::new());
    for _ in 0..200 {
        silent.push(TcpStream::connect(port.address).await.unwrap());
    }
    let asked = async {
        while connected(port.address).await.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, asked).await.unwrap();
    // After 5 s each of them is closed for its silence.
    assert!(began.elapsed().as_secs() < 4, "they kept the probe out for {:?}", began.elapsed());
}

#[tokio::test]
async fn who_is_silent_or_speaks_http_1_is_closed() {
    let port = serve_port(HealthPort::new().health(Health::new())).await;
    let mut silent = TcpStream::connect(port.address).await.unwrap();
    let mut slow = TcpStream::connect(port.address).await.unwrap();
    slow.write_all(b"PRI * HTTP/2.0").await.unwrap();
    let mut other = TcpStream::connect(port.address).await.unwrap();
    other.write_all(b"GET /livez HTTP/1.1\r\nhost: health\r\nconnection: close\r\n\r\n").await.unwrap();
    for stream in [&mut other, &mut silent, &mut slow] {
        closed(stream).await;
    }
    assert_eq!(check(&port, "liveness").await.unwrap(), Serving);
}

#[tokio::test]
async fn it_says_of_life_what_the_ops_port_says() {
    let health = Health::new();
    let port = serve_port(HealthPort::new().health(health.clone())).await;
    let ops = serve_ops(Ops::new().health("orders", health.clone())).await;
    let steps: [fn(&Health); 3] = [|_| {}, Health::open, Health::drain];
    for step in steps {
        step(&health);
        assert_eq!(check(&port, "liveness").await.unwrap(), Serving);
        assert_eq!(get(ops.address, "/livez").await.0, 200);
    }
}
