//! TCP and Unix domain sockets.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};

use super::Connector;
use crate::client::endpoint::Address;
use crate::transport::Io;

/// The sockets of the system: TCP without Nagle's delay, and Unix domain sockets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sockets {
    tcp_keepalive: Option<Duration>,
}

impl Sockets {
    /// Without TCP keepalive.
    pub fn new() -> Self {
        Self::default()
    }

    /// After how long of silence TCP asks the peer for a sign of life; `None`: never. The interval and the number of probes
    /// are the system's. It finds a host that is gone, and no process that is stuck: that is what
    /// [`Builder::http2_keep_alive_interval`](crate::Builder::http2_keep_alive_interval) is for.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let sockets = meshwork::connect::Sockets::new().tcp_keepalive(Some(Duration::from_secs(60)));
    /// let builder = meshwork::Channel::builder().connector(sockets);
    /// ```
    #[must_use]
    pub fn tcp_keepalive(mut self, time: Option<Duration>) -> Self {
        self.tcp_keepalive = time;
        self
    }
}

#[async_trait]
impl Connector for Sockets {
    async fn connect(&self, address: &Address) -> io::Result<Box<dyn Io>> {
        match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                if let Some(time) = self.tcp_keepalive {
                    SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(time))?;
                }
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
