//! Servers on free ports, and clients of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use meshwork::Server;
use meshwork::server::health::{Check, Health};
use meshwork::server::ops::Ops;
use meshwork::server::{Drain, HealthPort, Listener};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::health_client::HealthClient;

/// Longer than anything takes on a loaded machine.
pub const LONG: Duration = Duration::from_secs(60);

pub struct Served {
    pub address: SocketAddr,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<()>,
}

/// A gRPC server with nothing but `health`, which says for a moment that it stops before it does.
pub async fn serve(health: Health) -> Served {
    let listener = Listener::tcp("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let drain = Drain { delay: Duration::from_millis(50), grace: LONG, hooks: LONG };
    let server = Server::builder().health(health).drain(drain).descriptors(tonic_health::pb::FILE_DESCRIPTOR_SET);
    let stop = shutdown.clone().cancelled_owned();
    let task = tokio::spawn(async move { server.serve_with_shutdown(listener, stop).await.unwrap() });
    Served { address, shutdown, task }
}

pub async fn serve_ops(ops: Ops) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(ops.serve(listener, shutdown.clone().cancelled_owned()));
    Served { address, shutdown, task }
}

pub async fn serve_port(port: HealthPort) -> Served {
    let listener = Listener::tcp("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(port.serve(listener, shutdown.clone().cancelled_owned()));
    Served { address, shutdown, task }
}

pub fn client(served: &Served) -> HealthClient<Channel> {
    HealthClient::new(Endpoint::from_shared(format!("http://{}", served.address)).unwrap().connect_lazy())
}

/// A check that fails while `broken` says so, and finds out at once.
pub fn breakable(name: &str, broken: &Arc<AtomicBool>) -> Check {
    let broken = Arc::clone(broken);
    let check = Check::new(name, move || {
        let broken = broken.load(Ordering::SeqCst);
        async move { if broken { Err("it is \"broken\"") } else { Ok(()) } }
    });
    check.interval(Duration::from_millis(10)).fails_after(1, Duration::ZERO).passes_after(1)
}

/// What a request over HTTP/1 is answered with: head and body.
pub async fn http(address: SocketAddr, request: &str) -> (String, String) {
    let asked = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{request} HTTP/1.1\r\nhost: ops\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = timeout(LONG, asked).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// The code and the body of what GET is answered with.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let (head, body) = http(address, &format!("GET {path}")).await;
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
}

/// Waits until GET is answered with `code`.
pub async fn get_until(address: SocketAddr, path: &str, code: u16) -> String {
    let asked = async {
        loop {
            let (answered, body) = get(address, path).await;
            if answered == code {
                return body;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, asked).await.unwrap()
}
