//! One connection through the proxy.

use std::future::pending;
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio::{select, try_join};

use super::faults::{Birth, Counted, End, Mode, Shared, Window};

/// The most bytes that are read at once.
const CHUNK: usize = 16 << 10;
/// The most chunks that are under way in one direction.
const QUEUE: usize = 64;
/// How long the connection to the server may take.
const CONNECTING: Duration = Duration::from_secs(5);
/// How long the server still takes its client for connected, after its answer got lost.
const LINGER: Duration = Duration::from_secs(1);
/// Into how many pieces a limited bandwidth cuts a second.
const PIECES: u32 = 64;

/// Where bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

/// What goes through one direction, and when it may go on; what came before it goes first, whatever the jitter.
struct Item {
    due: Instant,
    what: What,
}

enum What {
    Bytes(Vec<u8>),
    /// The last bytes of a request whose answer gets lost, and who is told.
    Request(Vec<u8>, oneshot::Sender<()>),
    End,
}

/// Why a connection stopped before both sides had ended it.
enum Stop {
    /// One side has broken it.
    Broken,
    /// The server has got the request whose answer gets lost.
    Requested(oneshot::Sender<()>),
}

impl From<Error> for Stop {
    fn from(_: Error) -> Self {
        Self::Broken
    }
}

/// Passes what comes from a client to the server, and back, until one of them or a fault ends it.
pub(super) async fn serve(mut client: TcpStream, shared: Arc<Shared>, born: Birth) {
    let counted = Counted::new(shared.clone());
    let connection = Connection { shared, born, lost: AtomicBool::new(false), withheld: AtomicBool::new(false) };
    let mut upstream = None;
    let outcome = select! {
        biased;
        end = connection.ended() => Err(end),
        outcome = connection.run(&mut client, &mut upstream) => Ok(outcome),
    };
    match outcome {
        Ok(Ok(())) | Err(End::Close) => {}
        Ok(Err(Stop::Broken)) | Err(End::Reset) => {
            // It fails on a socket that its peer has broken, which is as good.
            client.set_zero_linger().ok();
            if let Some(upstream) = &upstream {
                upstream.set_zero_linger().ok();
            }
        }
        Ok(Err(Stop::Requested(happened))) => {
            drop(client);
            drop(counted);
            // The test may not want to know.
            happened.send(()).ok();
            if let Some(upstream) = &upstream {
                select! {
                    _ = connection.ended() => {}
                    () = sleep(LINGER) => {}
                    _ = discard(upstream) => {}
                }
            }
        }
    }
}

struct Connection {
    shared: Arc<Shared>,
    born: Birth,
    /// Whether something of it was swallowed.
    lost: AtomicBool,
    /// Whether the answers to its client get lost.
    withheld: AtomicBool,
}

impl Connection {
    /// Waits for a fault that ends the connection, or for the end of one that has taken something from it.
    async fn ended(&self) -> End {
        let mut faults = self.shared.faults.subscribe();
        let ended = faults.wait_for(|faults| {
            let is_broken = faults.mode_of(self.born) != Mode::Swallow && self.lost.load(Ordering::SeqCst);
            faults.has_ended(self.born) || is_broken
        });
        match ended.await {
            Ok(faults) if faults.has_ended(self.born) => faults.end,
            Ok(_) => End::Reset,
            Err(_) => End::Close,
        }
    }

    async fn run(&self, client: &mut TcpStream, upstream: &mut Option<TcpStream>) -> std::result::Result<(), Stop> {
        let upstream = upstream.insert(self.reach(client).await?);
        client.set_nodelay(true)?;
        upstream.set_nodelay(true)?;
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = upstream.split();
        try_join!(
            self.carry(from_client, to_server, Direction::ToServer),
            self.carry(from_server, to_client, Direction::ToClient),
        )?;
        Ok(())
    }

    /// Connects to the server, when the network lets it.
    async fn reach(&self, client: &TcpStream) -> Result<TcpStream> {
        let mut faults = self.shared.faults.subscribe();
        loop {
            let (mode, upstream) = {
                let faults = faults.borrow_and_update();
                (faults.mode_of(self.born), faults.upstream)
            };
            match mode {
                Mode::Pass => return timeout(CONNECTING, TcpStream::connect(upstream)).await?,
                Mode::Swallow => {
                    self.lost.store(true, Ordering::SeqCst);
                    // Its client may send and close what it likes.
                    discard(client).await.ok();
                    return pending().await;
                }
                Mode::Hold | Mode::Refuse => faults.changed().await.map_err(Error::other)?,
            }
        }
    }

    async fn carry(
        &self,
        from: ReadHalf<'_>,
        to: WriteHalf<'_>,
        direction: Direction,
    ) -> std::result::Result<(), Stop> {
        let (queue, queued) = mpsc::channel(QUEUE);
        try_join!(self.take(from, queue, direction), self.give(queued, to, direction))?;
        Ok(())
    }

    /// Takes what one side sends, as far as there is room for it.
    async fn take(
        &self,
        from: ReadHalf<'_>,
        queue: mpsc::Sender<Item>,
        direction: Direction,
    ) -> std::result::Result<(), Stop> {
        let mut window = Window::default();
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = match read(&from, &mut buffer).await {
                Ok(read) => read,
                Err(error) => {
                    // Nor does the word of a break pass a network that passes nothing.
                    self.passes().await;
                    return Err(error.into());
                }
            };
            let bytes = &buffer[..read];
            let may_be_it = direction == Direction::ToServer && !bytes.is_empty();
            let request = if may_be_it { self.shared.recognise(&mut window, bytes) } else { None };
            let what = match request {
                Some(happened) => {
                    self.withheld.store(true, Ordering::SeqCst);
                    What::Request(bytes.to_vec(), happened)
                }
                None if bytes.is_empty() => What::End,
                None => What::Bytes(bytes.to_vec()),
            };
            let is_last = !matches!(what, What::Bytes(_));
            let due = self.shared.faults.borrow().due();
            if queue.send(Item { due, what }).await.is_err() || is_last {
                return Ok(());
            }
        }
    }

    /// Gives the other side what is due.
    async fn give(
        &self,
        mut queued: mpsc::Receiver<Item>,
        mut to: WriteHalf<'_>,
        direction: Direction,
    ) -> std::result::Result<(), Stop> {
        let mut paced = Instant::now();
        while let Some(Item { due, what }) = queued.recv().await {
            sleep_until(due).await;
            match what {
                What::Bytes(bytes) => self.write(&to, &bytes, direction, &mut paced).await?,
                What::Request(bytes, happened) => {
                    self.write(&to, &bytes, direction, &mut paced).await?;
                    return Err(Stop::Requested(happened));
                }
                What::End => {
                    let delay = self.shared.faults.borrow().slow_close;
                    sleep(delay).await;
                    self.passes().await;
                    if !self.withholds(direction) {
                        to.shutdown().await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes bytes piece by piece, as the network of the moment takes them.
    async fn write(&self, to: &WriteHalf<'_>, bytes: &[u8], direction: Direction, paced: &mut Instant) -> Result<()> {
        let mut faults = self.shared.faults.subscribe();
        let mut rest = bytes;
        while !rest.is_empty() {
            sleep_until(*paced).await;
            let waits = {
                // No fault is set while this is held: what one forbids doesn't pass after it was set.
                let faults = faults.borrow_and_update();
                match faults.mode_of(self.born) {
                    Mode::Swallow => {
                        self.lost.store(true, Ordering::SeqCst);
                        return Ok(());
                    }
                    Mode::Pass if self.withholds(direction) => return Ok(()),
                    Mode::Pass => {
                        let most = faults.bandwidth.map_or(usize::MAX, |rate| rate.div_ceil(PIECES) as usize);
                        match to.try_write(&rest[..rest.len().min(most)]) {
                            Ok(written) => {
                                if let Some(rate) = faults.bandwidth {
                                    let takes = Duration::from_secs_f64(written as f64 / f64::from(rate));
                                    *paced = Instant::now().max(*paced) + takes;
                                }
                                rest = &rest[written..];
                                continue;
                            }
                            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
                            Err(error) => return Err(error),
                        }
                    }
                    Mode::Hold | Mode::Refuse => true,
                }
            };
            select! {
                changed = faults.changed() => changed.map_err(Error::other)?,
                writable = to.writable(), if !waits => writable?,
            }
        }
        Ok(())
    }

    /// Returns when ends pass; never on a network that swallows them.
    async fn passes(&self) {
        let mut faults = self.shared.faults.subscribe();
        loop {
            let mode = faults.borrow_and_update().mode_of(self.born);
            match mode {
                Mode::Pass => return,
                Mode::Swallow => {
                    self.lost.store(true, Ordering::SeqCst);
                    return pending().await;
                }
                Mode::Hold | Mode::Refuse => {}
            }
            if faults.changed().await.is_err() {
                return;
            }
        }
    }

    fn withholds(&self, direction: Direction) -> bool {
        direction == Direction::ToClient && self.withheld.load(Ordering::SeqCst)
    }
}

/// The next bytes; none at the end.
async fn read(from: &ReadHalf<'_>, buffer: &mut [u8]) -> Result<usize> {
    loop {
        from.readable().await?;
        match from.try_read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

/// Reads and forgets all that comes, until the end.
async fn discard(from: &TcpStream) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        from.readable().await?;
        match from.try_read(&mut buffer) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
    }
}
