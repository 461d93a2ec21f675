//! TCP and Unix domain sockets.

use std::io;

use async_trait::async_trait;
use tokio::net::{TcpStream, UnixStream};

use super::Connector;
use crate::client::endpoint::Address;
use crate::transport::Io;

/// The sockets of the system: TCP without Nagle's delay, and Unix domain sockets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sockets;

#[async_trait]
impl Connector for Sockets {
    async fn connect(&self, address: &Address) -> io::Result<Box<dyn Io>> {
        match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Address::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            Address::Named(name) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("{name} is no address of a socket; it needs a connector of its own"),
            )),
        }
    }
}
