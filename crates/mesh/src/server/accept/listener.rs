//! Where connections come from.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

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

    /// The next connection. `None`: there will be no more.
    pub(super) async fn accept(&mut self) -> io::Result<Option<Accepted>> {
        match &mut self.0 {
            Kind::Tcp(listener) => {
                let (stream, remote) = listener.accept().await?;
                // A connection that is gone already says so when it is read.
                let _ = stream.set_nodelay(true);
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
