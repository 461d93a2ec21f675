//! Signs of life of a silent peer (gRFC A8 for clients, A9 for servers).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep_until};

use super::TransportError;
use super::options::Http2Options;
use super::wire::ReadActivity;

/// The shortest interval that gRPC allows a client.
const FLOOR: Duration = Duration::from_secs(10);

/// Pings a peer that is silent. One timer a connection, that follows what is read: calls cost nothing.
pub(super) struct KeepAlive {
    interval: Duration,
    timeout: Duration,
    while_idle: bool,
    /// What the peer is called.
    peer: &'static str,
    pings: PingPong,
    /// Whether a pong is still to come.
    outstanding: bool,
    timer: Pin<Box<Sleep>>,
    /// When bytes of the peer had last been read as the ping was sent.
    pinged: Option<Instant>,
}

impl KeepAlive {
    /// That of a client; `None` when the options ask for none.
    pub(super) fn of_client(options: &Http2Options, pings: Option<PingPong>) -> Option<Self> {
        let interval = options.keep_alive_interval?.max(FLOOR);
        Some(Self::new("server", interval, options.keep_alive_timeout, options.keep_alive_while_idle, pings?))
    }

    /// That of a server, whatever calls there are: a peer that has been silent for `interval` has to give a sign of life
    /// within `timeout`.
    pub(super) fn of_server(interval: Duration, timeout: Duration, pings: PingPong) -> Self {
        Self::new("client", interval, timeout, true, pings)
    }

    fn new(peer: &'static str, interval: Duration, timeout: Duration, while_idle: bool, pings: PingPong) -> Self {
        let timer = Box::pin(sleep_until(later(Instant::now(), interval)));
        Self { interval, timeout, while_idle, peer, pings, outstanding: false, timer, pinged: None }
    }

    /// Ready when the peer counts as dead. `active` tells how many streams there are.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        reads: &ReadActivity,
        active: impl Fn() -> usize,
    ) -> Poll<TransportError> {
        loop {
            if self.outstanding && self.pings.poll_pong(cx).is_ready() {
                self.outstanding = false;
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let (now, last) = (Instant::now(), reads.last());
            let next = match self.pinged {
                // Whatever came is a sign of life, not only the pong.
                Some(before) if last == before => {
                    let silent = now.saturating_duration_since(last);
                    return Poll::Ready(TransportError::unavailable(format!(
                        "keepalive: the {} has been silent for {silent:?} and did not answer a ping within {:?}",
                        self.peer, self.timeout
                    )));
                }
                Some(_) => {
                    self.pinged = None;
                    later(last, self.interval)
                }
                None if later(last, self.interval) > now => later(last, self.interval),
                None if !self.while_idle && active() == 0 => later(now, self.interval),
                None => {
                    // Fails when the pong to an earlier one is still to come, which tells as much.
                    let _ = self.pings.send_ping(Ping::opaque());
                    self.outstanding = true;
                    self.pinged = Some(last);
                    later(now, self.timeout)
                }
            };
            self.timer.as_mut().reset(next);
        }
    }
}

/// A time that far away that it does not fit is as good as never.
fn later(from: Instant, by: Duration) -> Instant {
    from + by.min(Duration::from_secs(30 * 365 * 24 * 3600))
}
