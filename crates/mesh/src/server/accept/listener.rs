//! Where connections come from.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use socket2::SockRef;
use tokio::net::{TcpListener, ToSocketAddrs, UnixListener};
use tonic::transport::server::{Connected as _, TcpConnectInfo, UdsConnectInfo};

use super::inherited::{self, InheritedSocket};
use super::proxy_protocol::{ProxyProtocol, ProxyRule};
use super::unix_socket::{self, SocketFile};
use crate::memory::MemoryListener;
use crate::server::client_address::TrustedProxies;
use crate::transport::Io;

/// A socket that listens, or a place in a network within the process.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    /// Of an inherited one.
    name: Option<String>,
    proxy: Option<Arc<ProxyRule>>,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix {
        /// It goes before the socket is closed.
        _file: Option<SocketFile>,
        listener: UnixListener,
    },
    Memory(MemoryListener),
}

/// A connection that was accepted.
pub(super) struct Accepted {
    pub io: Box<dyn Io>,
    pub info: ConnectInfo,
    /// The address of the balancer that has said who is at the other end.
    pub hop: Option<SocketAddr>,
    /// What it has to begin with.
    pub proxy: Option<Arc<ProxyRule>>,
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

    /// The same connection, whose other end is a balancer in front of `client`.
    pub(super) fn of_client(self, client: SocketAddr) -> Self {
        let local_addr = match self {
            Self::Tcp(info) => info.local_addr,
            Self::Unix(_) | Self::Memory => None,
        };
        Self::Tcp(TcpConnectInfo { local_addr, remote_addr: Some(client) })
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

    /// Listens on a Unix socket, with the mode that the umask leaves. A socket that an earlier process left at `path`, and that
    /// nobody listens on, is replaced. It is removed with the listener, if it is still the one that was put there.
    ///
    /// # Errors
    /// When something else is at `path`, or somebody listens there.
    pub fn unix(path: impl AsRef<Path>) -> io::Result<Self> {
        let (file, listener) = unix_socket::bind(path.as_ref(), None)?;
        Ok(Kind::Unix { _file: Some(file), listener: UnixListener::from_std(listener)? }.into())
    }

    /// As [`Listener::unix`], with a mode such as `0o660`, whatever the umask: who may write to the socket may connect. At no time
    /// can it be connected to by others.
    ///
    /// ```no_run
    /// # use meshwork::server::Listener;
    /// # #[tokio::main] async fn main() -> std::io::Result<()> {
    /// let listener = Listener::unix_with_mode("/run/shop/gateway.sock", 0o660)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Listener::unix`]; or when `mode` has other bits than the nine of owner, group and others.
    pub fn unix_with_mode(path: impl AsRef<Path>, mode: u32) -> io::Result<Self> {
        let (file, listener) = unix_socket::bind(path.as_ref(), Some(mode))?;
        Ok(Kind::Unix { _file: Some(file), listener: UnixListener::from_std(listener)? }.into())
    }

    /// The sockets that systemd has bound for this process, TCP and Unix streams (`sd_listen_fds(3)`: `LISTEN_PID`, `LISTEN_FDS`,
    /// `LISTEN_FDNAMES`), each with its [name](Listener::name). None when it has passed none. They stay open to the end of the
    /// process; asked again, they are there again.
    ///
    /// The first call takes the variables `LISTEN_PID` and `LISTEN_FDS` out of the environment, so that no child takes the sockets
    /// for its own.
    ///
    /// # Errors
    /// When the variables contradict each other, there are more than 64 sockets, or one is of another kind: the error names it.
    pub fn inherited() -> io::Result<Vec<Self>> {
        let listener = |(name, socket)| {
            let kind = match socket {
                InheritedSocket::Tcp(listener) => Kind::Tcp(TcpListener::from_std(listener)?),
                InheritedSocket::Unix(listener) => {
                    Kind::Unix { _file: None, listener: UnixListener::from_std(listener)? }
                }
            };
            Ok(Self { name: Some(name), ..kind.into() })
        };
        inherited::sockets()?.into_iter().map(listener).collect()
    }

    /// What an [inherited](Listener::inherited) socket is called: `FileDescriptorName=` of its unit. `None` for others.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Demands of each connection that it begins with a header of the PROXY protocol, in which a balancer that passes bytes on
    /// (HAProxy, a cloud's TCP balancer) says who its client is. The client is the connection's [`Peer`](crate::server::Peer) then, and
    /// the balancer its [`hop`](crate::server::Peer::hop): budgets and limits count the client's address, and nothing counts for the
    /// balancer's, however many connections come through it; how many may not have sent their header yet is bounded by
    /// [`max_handshakes`](crate::server::Builder::max_handshakes), and the header has the time of
    /// [`handshake_timeout`](crate::server::Builder::handshake_timeout).
    ///
    /// Who is not among `trusted`, by the address of its socket, is refused, and so is a connection without a header, or one whose
    /// header is wrong, has more than 2 KiB behind its fixed part, or names no client of TCP. `LOCAL`, as of health checks, is the
    /// balancer's own connection. TLVs are passed over, but for a checksum, which has to be right. A listener that doesn't demand
    /// the header refuses it.
    ///
    /// ```no_run
    /// use meshwork::server::{Listener, ProxyProtocol, TrustedProxies};
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let balancers = TrustedProxies::new(["10.0.0.0/28"])?;
    /// let listener = Listener::tcp("0.0.0.0:50051").await?.proxy_protocol(ProxyProtocol::V2, balancers);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn proxy_protocol(self, protocol: ProxyProtocol, trusted: TrustedProxies) -> Self {
        Self { proxy: Some(Arc::new(ProxyRule { protocol, trusted })), ..self }
    }

    /// The TCP address with its real port; `None` for others.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp(listener) => listener.local_addr().ok(),
            Kind::Unix { .. } | Kind::Memory(_) => None,
        }
    }

    /// The next connection; of TCP, one for which the kernel keeps `send_buffer` bytes, if that is set. `None`: there will be
    /// no more.
    pub(super) async fn accept(&mut self, send_buffer: Option<usize>) -> io::Result<Option<Accepted>> {
        let (io, info): (Box<dyn Io>, _) = match &mut self.kind {
            Kind::Tcp(listener) => {
                let (stream, remote) = listener.accept().await?;
                // A connection that is gone already says so when it is read.
                let _ = stream.set_nodelay(true);
                if let Some(bytes) = send_buffer {
                    let _ = SockRef::from(&stream).set_send_buffer_size(bytes);
                }
                let info = TcpConnectInfo { local_addr: stream.local_addr().ok(), remote_addr: Some(remote) };
                (Box::new(stream), ConnectInfo::Tcp(info))
            }
            Kind::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                let info = ConnectInfo::Unix(stream.connect_info());
                (Box::new(stream), info)
            }
            Kind::Memory(listener) => match listener.accept().await {
                Some(stream) => (Box::new(stream), ConnectInfo::Memory),
                None => return Ok(None),
            },
        };
        Ok(Some(Accepted { io, info, hop: None, proxy: self.proxy.clone() }))
    }
}

/// Whether an accept failed by what its peer did: then the next one need not wait, or such peers would hold up all others.
pub(in crate::server) fn is_of_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

impl From<Kind> for Listener {
    fn from(kind: Kind) -> Self {
        Self { kind, name: None, proxy: None }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Kind::Tcp(listener).into()
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Kind::Unix { _file: None, listener }.into()
    }
}

impl From<MemoryListener> for Listener {
    fn from(listener: MemoryListener) -> Self {
        Kind::Memory(listener).into()
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
