//! Clients that a server can tell apart, by what they say or where they come from.

use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use http::HeaderMap;
use meshwork::Channel;
use meshwork::connect::Connector;
use meshwork::endpoint::Address;
use meshwork::server::auth::{Authenticated, Authenticator, Principal};
use meshwork::server::{Builder, Listener, Peer, ServerError};
use meshwork::transport::Io;
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;
use tonic::Request;

use crate::support::{Echo, descriptors};

/// Knows callers by what they say.
pub struct Named;

impl Authenticator for Named {
    fn authenticate(&self, headers: &HeaderMap, _: Option<&Peer>) -> Authenticated {
        let name = headers.get("x-name").and_then(|name| name.to_str().ok());
        Authenticated::Now(Ok(name.map(|name| Principal::new(name, ["customer"]))))
    }
}

/// A request by whom [`Named`] knows.
pub fn by(name: &str, said: &str) -> Request<String> {
    let mut request = Request::new(said.to_owned());
    request.metadata_mut().insert("x-name", name.parse().unwrap());
    request
}

/// A server on TCP, as long as this is there. In memory, clients have no addresses.
pub struct Tcp {
    address: SocketAddr,
    task: JoinHandle<Result<(), ServerError>>,
}

impl Tcp {
    pub async fn start(builder: Builder) -> Self {
        Self::on(builder, Listener::tcp("127.0.0.1:0").await.unwrap())
    }

    /// The same on a listener of TCP.
    pub fn on(builder: Builder, listener: Listener) -> Self {
        let address = listener.local_addr().unwrap();
        let server = builder.descriptors(descriptors()).add_service(Echo::default());
        let task = tokio::spawn(server.serve_with_shutdown(listener, std::future::pending()));
        Self { address, task }
    }

    /// A connection from the address that ends with `last`.
    pub async fn connect(&self, last: u8) -> Box<dyn Io> {
        At::address(last).connect(&Address::Tcp(self.address)).await.unwrap()
    }

    /// A client at the address that ends with `last`.
    pub fn channel(&self, last: u8) -> Channel {
        let target = format!("static:///{}", self.address);
        Channel::builder().connector(At::address(last)).connect_lazy(&target).unwrap()
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Connects from an address of its own.
pub struct At(IpAddr);

impl At {
    pub fn address(last: u8) -> Self {
        Self([127, 0, 0, last].into())
    }
}

#[async_trait]
impl Connector for At {
    async fn connect(&self, address: &Address) -> std::io::Result<Box<dyn Io>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.0, 0).into())?;
        Ok(Box::new(socket.connect(address.to_string().parse().unwrap()).await?))
    }
}
