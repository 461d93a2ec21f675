//! A network within the process.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::{mpsc, watch};
use tonic::transport::server::Connected;

/// What either direction of a connection holds, in bytes.
const BUFFER: usize = 64 << 10;

/// Connections that are made and not yet accepted, of each listener; further ones wait.
const BACKLOG: usize = 128;

/// A network within the process, for tests and for services that live together: servers listen under names, and clients
/// reach them through it without sockets. Its failures are played by hand. Clones are the same network.
///
/// An [`Address`](crate::client::endpoint::Address) of any kind is a name here, as it is displayed: a channel to `static:///10.0.0.1:50051` reaches the
/// listener `10.0.0.1:50051`.
///
/// ```
/// use meshwork::connect::{Connector, Memory};
/// use meshwork::endpoint::Address;
///
/// # #[tokio::main] async fn main() -> std::io::Result<()> {
/// let network = Memory::new();
/// let mut users = network.listen("users")?;
/// let there = network.connect(&Address::Named("users".into())).await?;
/// assert!(users.accept().await.is_some());
///
/// network.refuse("users");
/// assert!(network.connect(&Address::Named("users".into())).await.is_err());
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct Memory {
    places: Arc<Mutex<HashMap<String, Arc<Place>>>>,
}

/// What becomes of those who connect to a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Way {
    /// To the listener; refused when nobody listens.
    #[default]
    Open,
    Refused,
    /// Without an answer, as with packets that are lost.
    Lost,
}

#[derive(Default)]
struct Place {
    state: Mutex<PlaceState>,
    way: watch::Sender<Way>,
    connects: AtomicU64,
}

#[derive(Default)]
struct PlaceState {
    listener: Option<mpsc::Sender<MemoryStream>>,
    frozen: bool,
    links: Vec<Weak<Link>>,
}

impl PlaceState {
    fn open(&mut self) -> impl Iterator<Item = Arc<Link>> {
        self.links.retain(|link| link.strong_count() > 0);
        self.links.iter().filter_map(Weak::upgrade)
    }
}

/// Nothing that holds a lock here can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// A network in which nobody listens.
    pub fn new() -> Self {
        Self::default()
    }

    fn place(&self, name: &str) -> Arc<Place> {
        let mut places = lock(&self.places);
        match places.get(name) {
            Some(place) => Arc::clone(place),
            None => Arc::clone(places.entry(name.to_owned()).or_default()),
        }
    }

    /// Listens under a name, until the listener is dropped. Connections outlive it.
    ///
    /// # Errors
    /// When somebody listens there.
    pub fn listen(&self, name: &str) -> io::Result<MemoryListener> {
        let place = self.place(name);
        let mut state = lock(&place.state);
        if state.listener.as_ref().is_some_and(|listener| !listener.is_closed()) {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("somebody listens under {name:?}")));
        }
        let (listener, incoming) = mpsc::channel(BACKLOG);
        state.listener = Some(listener);
        Ok(MemoryListener { incoming })
    }

    /// From now on connections to `name` are refused, as by a host where nobody listens.
    pub fn refuse(&self, name: &str) {
        self.place(name).way.send_replace(Way::Refused);
    }

    /// From now on connections to `name` hang, as when the packets to a host are lost.
    pub fn hang(&self, name: &str) {
        self.place(name).way.send_replace(Way::Lost);
    }

    /// Ends [`Memory::refuse`], [`Memory::hang`] and [`Memory::freeze`]; what hung goes on.
    pub fn restore(&self, name: &str) {
        let place = self.place(name);
        place.way.send_replace(Way::Open);
        let mut state = lock(&place.state);
        state.frozen = false;
        state.open().for_each(|link| link.thaw());
    }

    /// From now on the servers' ends of connections to `name`, old and new, move no bytes: as of a process that is
    /// stopped while its kernel goes on to accept connections, and bytes until the buffers are full.
    pub fn freeze(&self, name: &str) {
        let place = self.place(name);
        let mut state = lock(&place.state);
        state.frozen = true;
        state.open().for_each(|link| link.freeze());
    }

    /// Breaks all connections to `name`, and says how many there were: both ends see a reset, and bytes on their way are
    /// lost. New connections can be made.
    pub fn cut(&self, name: &str) -> usize {
        let place = self.place(name);
        let links: Vec<_> = lock(&place.state).open().collect();
        links.iter().filter(|link| link.cut()).count()
    }

    /// How many connections to `name` are open: made, not cut, and one end at least not dropped.
    pub fn open_connections(&self, name: &str) -> usize {
        let place = self.place(name);
        let links: Vec<_> = lock(&place.state).open().collect();
        links.iter().filter(|link| link.is_open()).count()
    }

    /// The client's end of a new connection to `name`.
    ///
    /// # Errors
    /// When nobody listens there.
    pub(crate) async fn dial(&self, name: &str) -> io::Result<MemoryStream> {
        let refused = || io::Error::new(io::ErrorKind::ConnectionRefused, format!("nobody listens under {name:?}"));
        let place = self.place(name);
        place.connects.fetch_add(1, Ordering::Relaxed);
        let mut way = place.way.subscribe();
        let way = *way.wait_for(|way| *way != Way::Lost).await.map_err(|_| refused())?;
        let listener = if way == Way::Open { lock(&place.state).listener.clone() } else { None };
        let listener = listener.ok_or_else(refused)?;
        let room = listener.reserve().await.map_err(|_| refused())?;
        let (client, server) = Link::pair();
        {
            let mut state = lock(&place.state);
            state.links.retain(|link| link.strong_count() > 0);
            state.links.push(Arc::downgrade(&server.link));
            if state.frozen {
                server.link.freeze();
            }
        }
        room.send(server);
        Ok(client)
    }
    /// How often somebody tried to connect to `name`.
    pub fn connects(&self, name: &str) -> u64 {
        self.place(name).connects.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Memory").field(&lock(&self.places).len()).finish()
    }
}

/// The server's side of a name: a stream of connections, as tonic's `serve_with_incoming` takes it.
#[derive(Debug)]
pub struct MemoryListener {
    incoming: mpsc::Receiver<MemoryStream>,
}

impl MemoryListener {
    /// The next connection.
    pub async fn accept(&mut self) -> Option<MemoryStream> {
        self.incoming.recv().await
    }
}

impl Stream for MemoryListener {
    type Item = io::Result<MemoryStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.incoming.poll_recv(cx).map(|stream| stream.map(Ok))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// One connection: both ends, so that it can be broken between them.
struct Link {
    client: Mutex<Option<DuplexStream>>,
    server: Mutex<Option<DuplexStream>>,
    frozen: Mutex<Option<Frozen>>,
}

/// Who waits at the server's end for the thaw.
#[derive(Default)]
struct Frozen {
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Link {
    fn pair() -> (MemoryStream, MemoryStream) {
        let (client, server) = tokio::io::duplex(BUFFER);
        let link = Arc::new(Self {
            client: Mutex::new(Some(client)),
            server: Mutex::new(Some(server)),
            frozen: Mutex::default(),
        });
        (MemoryStream { link: Arc::clone(&link), side: Side::Client }, MemoryStream { link, side: Side::Server })
    }

    fn end(&self, side: Side) -> &Mutex<Option<DuplexStream>> {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    fn is_open(&self) -> bool {
        lock(&self.client).is_some() || lock(&self.server).is_some()
    }

    /// Whether there was something to break. The end of either half wakes who waits at the other.
    fn cut(&self) -> bool {
        let ends = (lock(&self.client).take(), lock(&self.server).take());
        self.thaw();
        ends.0.is_some() || ends.1.is_some()
    }

    fn freeze(&self) {
        lock(&self.frozen).get_or_insert_default();
    }

    fn thaw(&self) {
        if let Some(frozen) = lock(&self.frozen).take() {
            frozen.reader.into_iter().chain(frozen.writer).for_each(Waker::wake);
        }
    }
}

/// One end of a connection within the process. It is made by [`Memory`].
pub struct MemoryStream {
    link: Arc<Link>,
    side: Side,
}

impl MemoryStream {
    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        writes: bool,
        poll: impl FnOnce(Pin<&mut DuplexStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.side == Side::Server
            && let Some(frozen) = &mut *lock(&self.link.frozen)
        {
            let waiting = if writes { &mut frozen.writer } else { &mut frozen.reader };
            *waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        match &mut *lock(self.link.end(self.side)) {
            Some(stream) => poll(Pin::new(stream), cx),
            None => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }
}

impl AsyncRead for MemoryStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, false, |stream, cx| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(cx, true, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, true, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, true, |stream, cx| stream.poll_shutdown(cx))
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        lock(self.link.end(self.side)).take();
    }
}

impl Connected for MemoryStream {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl fmt::Debug for MemoryStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryStream").field(&self.side).finish()
    }
}
