//! Where connections come from.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use socket2::SockRef;
use tokio::net::{TcpListener, ToSocketAddrs, UnixListener};
use tonic::transport::server::{Connected as _, TcpConnectInfo, UdsConnectInfo};

use crate::memory::MemoryListener;
use crate::transport::Io;

/// A socket that listens, or a place in a network within the process.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener),
    Memory(MemoryListener),
}

/// A connection that was accepted.
pub(super) struct Accepted {
    pub io: Box<dyn Io>,
    pub info: ConnectInfo,
}

/// What the socket tells of the other end, as tonic's users know it.
#[derive(Clone, Debug)]
pub(in crate::server) enum ConnectInfo {
    Tcp(TcpConnectInfo),
    Unix(UdsConnectInfo),
    Memory,
}

impl ConnectInfo {
    /// The address of the other end.
    pub(in crate::server) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(info) => info.remote_addr(),
            Self::Unix(_) | Self::Memory => None,
        }
    }

    /// Adds it to a request, for `Request::remote_addr` and others of tonic.
    pub(in crate::server) fn insert(&self, extensions: &mut http::Extensions) {
        match self {
            Self::Tcp(info) => drop(extensions.insert(info.clone())),
            Self::Unix(info) => drop(extensions.insert(info.clone())),
            Self::Memory => {}
        }
    }
}

impl fmt::Display for ConnectInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Some(address) => address.fmt(f),
            None => f.write_str("a local peer"),
        }
    }
}

impl Listener {
    /// Listens on a TCP address, such as `0.0.0.0:50051`. Kubernetes' probes come to the pod's address, not to
    /// loopback.
    ///
    /// # Errors
    /// When the address can't be bound.
    pub async fn tcp(address: impl ToSocketAddrs) -> io::Result<Self> {
        Ok(TcpListener::bind(address).await?.into())
    }

    /// Listens on a Unix socket. A socket that an earlier process left at `path`, and that nobody listens on, is
    /// replaced.
    ///
    /// # Errors
    /// When something else is at `path`, or somebody listens there.
    pub fn unix(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        match UnixListener::bind(path) {
            Ok(listener) => Ok(listener.into()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(path) => {
                std::fs::remove_file(path)?;
                Ok(UnixListener::bind(path)?.into())
            }
            Err(error) => Err(error),
        }
    }

    /// The TCP address with its real port; `None` for others.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::Tcp(listener) => listener.local_addr().ok(),
            Kind::Unix(_) | Kind::Memory(_) => None,
        }
    }

    /// The next connection; of TCP, one for which the kernel keeps `send_buffer` bytes, if that is set. `None`: there will be
    /// no more.
    pub(super) async fn accept(&mut self, send_buffer: Option<usize>) -> io::Result<Option<Accepted>> {
        match &mut self.0 {
            Kind::Tcp(listener) => {
                let (stream, remote) = listener.accept().await?;
                // A connection that is gone already says so when it is read.
                let _ = stream.set_nodelay(true);
                if let Some(bytes) = send_buffer {
                    let _ = SockRef::from(&stream).set_send_buffer_size(bytes);
                }
                let info = TcpConnectInfo { local_addr: stream.local_addr().ok(), remote_addr: Some(remote) };
                Ok(Some(Accepted { io: Box::new(stream), info: ConnectInfo::Tcp(info) }))
            }
            Kind::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let info = ConnectInfo::Unix(stream.connect_info());
                Ok(Some(Accepted { io: Box::new(stream), info }))
            }
            Kind::Memory(listener) => {
                let stream = listener.accept().await;
                Ok(stream.map(|stream| Accepted { io: Box::new(stream), info: ConnectInfo::Memory }))
            }
        }
    }
}

/// Whether an accept failed by what its peer did: then the next one need not wait, or such peers would hold up all others.
pub(in crate::server) fn is_of_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Whether a socket is there that nobody listens on.
fn is_abandoned(path: &Path) -> bool {
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    std::os::unix::net::UnixStream::connect(path).is_err_and(refused)
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self(Kind::Tcp(listener))
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self(Kind::Unix(listener))
    }
}

impl From<MemoryListener> for Listener {
    fn from(listener: MemoryListener) -> Self {
        Self(Kind::Memory(listener))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use tokio::io::AsyncWrite as _;
    use tokio::net::{TcpSocket, TcpStream};

    use super::*;

    /// How many bytes can be written to a client that reads nothing, and that takes few itself.
    async fn unread(send_buffer: Option<usize>) -> usize {
        let mut listener = Listener::tcp("127.0.0.1:0").await.unwrap();
        let client = TcpSocket::new_v4().unwrap();
        client.set_recv_buffer_size(8 << 10).unwrap();
        let (client, accepted) =
            tokio::join!(client.connect(listener.local_addr().unwrap()), listener.accept(send_buffer));
        let (_client, mut io): (TcpStream, _) = (client.unwrap(), accepted.unwrap().unwrap().io);
        let (mut written, mut pauses) = (0, 0);
        // The kernel takes bytes in turns, as the client's takes them over.
        while pauses < 10 {
            match Pin::new(&mut io).poll_write(&mut Context::from_waker(Waker::noop()), &[0; 4096]) {
                Poll::Ready(count) => (written, pauses) = (written + count.unwrap(), 0),
                Poll::Pending => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    pauses += 1;
                }
            }
        }
        written
    }

    #[tokio::test]
    async fn s7_the_kernel_keeps_as_little_as_is_set_of_what_a_client_does_not_read() {
        let (small, system) = (unread(Some(16 << 10)).await, unread(None).await);
        assert!(small <= 64 << 10, "{small} bytes");
        assert!(small < system, "{small} bytes, and {system} by the system's setting");
    }
}
