//! Several listeners of one server, and Unix sockets.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use async_trait::async_trait;
use meshwork::connect::Connector;
use meshwork::endpoint::Address;
use meshwork::server::{Builder, CallerLimits, Drain, Listener, Resource, ServerError};
use meshwork::transport::Io;
use meshwork::{Channel, Server};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::clients::At;
use crate::support::{Echo, SLEEP, UNARY, budgets, descriptors, unary, until};

/// Connects to a Unix socket.
pub struct Unix(pub std::path::PathBuf);

#[async_trait]
impl Connector for Unix {
    async fn connect(&self, _: &Address) -> std::io::Result<Box<dyn Io>> {
        Ok(Box::new(UnixStream::connect(&self.0).await?))
    }
}

/// A client of the Unix socket at `path`.
pub fn unix(path: &Path) -> Channel {
    Channel::builder().connector(Unix(path.to_owned())).connect_lazy("static:///10.0.0.1:1").unwrap()
}

fn tcp(address: std::net::SocketAddr) -> Channel {
    Channel::builder().connector(At::address(1)).connect_lazy(&format!("static:///{address}")).unwrap()
}

fn serve(
    builder: Builder,
    listener: Listener,
    stop: &CancellationToken,
) -> (Echo, JoinHandle<Result<(), ServerError>>) {
    let echo = Echo::default();
    let server = builder.descriptors(descriptors()).add_service(echo.clone());
    (echo, tokio::spawn(server.serve_with_shutdown(listener, stop.clone().cancelled_owned())))
}

#[tokio::test]
async fn several_listeners_have_one_server_its_budgets_and_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let (first, second) = (Listener::tcp("127.0.0.1:0").await.unwrap(), Listener::tcp("127.0.0.1:0").await.unwrap());
    let (at_first, at_second) = (first.local_addr().unwrap(), second.local_addr().unwrap());
    let limits = CallerLimits { total: 2, ..CallerLimits::default() };
    let builder = Server::builder()
        .budgets(budgets(Resource::Calls, limits))
        .drain(Drain { delay: std::time::Duration::ZERO, ..Drain::default() })
        .listen(second)
        .listen(Listener::unix_with_mode(&path, 0o600).unwrap());
    let stop = CancellationToken::new();
    let (echo, server) = serve(builder, first, &stop);
    let channels = [tcp(at_first), tcp(at_second), unix(&path)];
    for channel in &channels {
        assert_eq!(unary(channel, UNARY, "x").await.unwrap(), "x");
    }
    let mut slow: Vec<_> = channels[..2]
        .iter()
        .cloned()
        .map(|channel| tokio::spawn(async move { unary(&channel, SLEEP, "500").await }))
        .collect();
    until("both have begun", || echo.running() == 2).await;
    // Two of all listeners together.
    let full = unary(&channels[2], UNARY, "x").await.unwrap_err();
    assert_eq!(full.code(), Code::Unavailable, "{full:?}");
    stop.cancel();
    for call in slow.drain(..) {
        call.await.unwrap().unwrap();
    }
    server.await.unwrap().unwrap();
    assert!(!path.exists());
    for address in [at_first, at_second] {
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
    }
}

#[tokio::test]
async fn a_listener_at_which_nobody_can_be_accepted_is_in_the_way_of_no_other() {
    // Nobody listens on this socket, so that each accept fails.
    let deaf = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    deaf.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    deaf.set_nonblocking(true).unwrap();
    let deaf = tokio::net::TcpListener::from_std(deaf.into()).unwrap();
    let listener = Listener::tcp("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let (_, server) = serve(Server::builder().listen(listener), deaf.into(), &stop);
    for _ in 0..10 {
        assert_eq!(unary(&tcp(address), UNARY, "x").await.unwrap(), "x");
    }
    server.abort();
}

#[tokio::test]
async fn a_unix_socket_has_the_mode_that_is_asked_for_and_takes_the_place_of_nothing_that_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let stop = CancellationToken::new();
    let (_, server) = serve(Server::builder(), Listener::unix_with_mode(&path, 0o660).unwrap(), &stop);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    assert_eq!(Listener::unix(&path).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    assert_eq!(unary(&unix(&path), UNARY, "x").await.unwrap(), "x");
    server.abort();
    until("the socket is gone", || !path.exists()).await;
    // What crashed has left one.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let (_, server) = serve(Server::builder(), Listener::unix(&path).unwrap(), &stop);
    assert_eq!(unary(&unix(&path), UNARY, "x").await.unwrap(), "x");
    server.abort();
}
