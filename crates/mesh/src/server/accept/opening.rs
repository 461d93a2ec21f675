//! The opening of a connection: TLS, and the first bytes, which tell the protocol.
//!
//! Connections that have not said anything yet are few, and they have little time. When there are too many, an old one
//! gives way: who means it is quick, and who opens thousands and stays silent keeps nobody out.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::observer::RefusedConnection;
use super::prefixed::Prefixed;
use super::register::Registered;
use crate::server::peer::Peer;
use crate::server::tls::ServerTls;
use crate::transport::Io;

/// What a client of HTTP/2 begins with (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long what a connection has sent already may take to be read, once it has to give way: a turn of the runtime. It counts for its
/// address meanwhile, which may open a hundred in ten milliseconds.
const LAST_LOOK: Duration = Duration::from_millis(5);

/// Methods that are none: HTTP/1 leaves the one to the preface, and the other begins the PROXY protocol, version 1.
const RESERVED: [&[u8]; 2] = [b"PRI", b"PROXY"];

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// The preface of HTTP/2.
    Http2,
    /// A method and a space.
    Http1,
    /// Anything else.
    Other,
}

/// The bounds of an opening.
pub(super) struct Opening {
    pub tls: Option<Arc<ServerTls>>,
    /// By when the first bytes have to be here.
    pub deadline: Instant,
    /// Its place among those that have not said anything yet, given back with the first bytes.
    pub place: Registered,
    /// Cancelled when the server stops.
    pub stopping: CancellationToken,
}

/// A connection that has begun to speak.
pub(super) struct Opened {
    /// From the first byte on.
    pub io: Prefixed,
    pub peer: Peer,
    pub protocol: Protocol,
}

impl Opening {
    /// Opens a connection from `address`, or from behind `hop` that has named it.
    ///
    /// # Errors
    /// Why it is refused; `None` when its peer has gone, or the server stops.
    pub(super) async fn open(
        self,
        io: Box<dyn Io>,
        address: Option<SocketAddr>,
        hop: Option<SocketAddr>,
    ) -> Result<Opened, Option<RefusedConnection>> {
        let Self { tls, deadline, place, stopping } = self;
        let mut begun = pin!(begin(io, address, hop, tls.as_deref()));
        tokio::select! {
            begun = timeout_at(deadline, begun.as_mut()) => begun.unwrap_or(Err(Some(RefusedConnection::TimedOut))),
            // It may have spoken, and nobody has listened yet.
            () = place.evicted() => {
                timeout(LAST_LOOK, begun).await.unwrap_or(Err(Some(RefusedConnection::Evicted)))
            }
            () = stopping.cancelled() => Err(None),
        }
    }
}

async fn begin(
    io: Box<dyn Io>,
    address: Option<SocketAddr>,
    hop: Option<SocketAddr>,
    tls: Option<&ServerTls>,
) -> Result<Opened, Option<RefusedConnection>> {
    let (mut io, peer) = match tls {
        None => (io, Peer::at(address)),
        Some(tls) => {
            let (io, identity, certificates) = tls.accept(io).await.map_err(|error| {
                tracing::debug!(peer = ?address, %error, "a TLS handshake has failed");
                Some(RefusedConnection::TlsFailed)
            })?;
            (io, Peer::verified(address, identity, certificates))
        }
    };
    let peer = hop.map_or(peer.clone(), |hop| peer.behind(hop));
    let (protocol, first) = read_first(&mut io).await.map_err(|error| {
        tracing::debug!(peer = ?address, %error, "a peer has gone before it said anything");
        None::<RefusedConnection>
    })?;
    Ok(Opened { io: Prefixed::new(first, io), peer, protocol })
}

/// Reads no more than tells the protocol.
pub(super) async fn read_first(io: &mut (impl AsyncRead + Unpin)) -> io::Result<(Protocol, Bytes)> {
    let (mut bytes, mut len) = ([0; PREFACE.len()], 0);
    loop {
        let read = io.read(bytes.get_mut(len..).unwrap_or_default()).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        len += read;
        let first = bytes.get(..len).unwrap_or_default();
        if let Some(protocol) = protocol(first) {
            return Ok((protocol, Bytes::copy_from_slice(first)));
        }
    }
}

/// `None`: these are too few bytes to tell. As many as the preface has are enough.
fn protocol(first: &[u8]) -> Option<Protocol> {
    if PREFACE.starts_with(first) {
        return (first.len() == PREFACE.len()).then_some(Protocol::Http2);
    }
    let method = first.split(|byte| *byte == b' ').next().unwrap_or_default();
    let may_be = method.iter().all(|byte| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_'));
    let is_reserved = RESERVED.contains(&method) && method.len() < first.len();
    if method.is_empty() || is_reserved || !may_be {
        Some(Protocol::Other)
    } else if method.len() < first.len() {
        Some(Protocol::Http1)
    } else {
        (first.len() >= PREFACE.len()).then_some(Protocol::Other)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::task::JoinHandle;
    use tokio::time::sleep;

    use super::super::register::Register;
    use super::*;

    const TIME: Duration = Duration::from_secs(5);

    struct Start {
        client: DuplexStream,
        opened: JoinHandle<Result<Opened, Option<RefusedConnection>>>,
        register: Arc<Register>,
        stopping: CancellationToken,
    }

    fn start() -> Start {
        let (client, server) = duplex(4096);
        let (register, stopping) = (Register::new(1, 0), CancellationToken::new());
        let place = register.begin(None);
        let opening = Opening { tls: None, deadline: Instant::now() + TIME, place, stopping: stopping.clone() };
        let opened = tokio::spawn(opening.open(Box::new(server), None, None));
        Start { client, opened, register, stopping }
    }

    fn refusal(opened: Result<Opened, Option<RefusedConnection>>) -> Option<RefusedConnection> {
        match opened {
            Ok(opened) => panic!("it was opened: {:?}", opened.protocol),
            Err(why) => why,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_bytes_say_the_protocol_and_none_is_lost() {
        for (said, protocol) in [
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand what follows", Protocol::Http2),
            ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", Protocol::Http1),
            ("OPTIONS * HTTP/1.1\r\n\r\n", Protocol::Http1),
            ("X ", Protocol::Http1),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\rx", Protocol::Other),
            ("PRI / HTTP/1.1\r\n\r\n", Protocol::Other),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 9 443\r\n", Protocol::Other),
            ("\r\n\r\n\0\r\nQUIT\n", Protocol::Other),
            ("\x16\x03\x01", Protocol::Other),
            ("get / HTTP/1.1", Protocol::Other),
            (" GET", Protocol::Other),
            ("ABCDEFGHIJKLMNOPQRSTUVWXYZ", Protocol::Other),
        ] {
            for piece in [1, 7, 1000] {
                let mut start = start();
                for piece in said.as_bytes().chunks(piece) {
                    start.client.write_all(piece).await.unwrap();
                    sleep(Duration::from_millis(1)).await;
                }
                let mut opened = start.opened.await.unwrap().unwrap_or_else(|why| panic!("{said}: {why:?}"));
                assert_eq!(opened.protocol, protocol, "{said}");
                assert_eq!(start.register.len(), 0);
                drop(start.client);
                let mut read = String::new();
                opened.io.read_to_string(&mut read).await.unwrap();
                assert_eq!(read, said);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_too_little_has_a_bounded_time() {
        for said in ["", "PRI * HTTP/2.0\r\n", "GE"] {
            let (mut start, begin) = (start(), Instant::now());
            start.client.write_all(said.as_bytes()).await.unwrap();
            assert_eq!(refusal(start.opened.await.unwrap()), Some(RefusedConnection::TimedOut));
            assert_eq!(begin.elapsed(), TIME);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_gives_way_and_a_stop_waits_for_nobody() {
        let first = start();
        let _next = first.register.begin(None);
        assert_eq!(refusal(first.opened.await.unwrap()), Some(RefusedConnection::Evicted));
        let second = start();
        second.stopping.cancel();
        assert_eq!(refusal(second.opened.await.unwrap()), None);
        let third = start();
        drop(third.client);
        assert_eq!(refusal(third.opened.await.unwrap()), None);
    }

    proptest! {
        #[test]
        fn as_many_bytes_as_the_preface_has_are_enough(bytes in prop::collection::vec(any::<u8>(), PREFACE.len())) {
            prop_assert!(protocol(&bytes).is_some());
            // What is told by some bytes is told by more.
            let mut earlier = None;
            for len in 1..=bytes.len() {
                let now = protocol(&bytes[..len]);
                prop_assert!(earlier.is_none() || earlier == now);
                earlier = now;
            }
        }
    }
}
