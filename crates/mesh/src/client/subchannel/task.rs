//! The task of a subchannel: makes its connections, and sees what becomes of them.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::address::ServerAddress;
use super::dial::{DialGuard, Dialed, Dialing, dial};
use super::error::ConnectError;
use super::failures::Failures;
use super::handle_state::{CONNECT, MORE, SubchannelState, Usable};
use super::health::Health;
use super::live::{Live, News};
use super::slots::{At, Pass, Slot, interleave};
use super::{Options, State};
use crate::observe::{Connectivity, Event};
use crate::transport::{Connection, Driver, Http2Options};

/// What the task is at: the raw state, without health (gRFC A61).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nobody asked for a connection.
    Idle,
    /// Connections are tried: in a pass over all addresses, or each after its backoff.
    Trying,
    /// There is a connection.
    Up,
}

pub(super) struct Task {
    name: Arc<str>,
    pub(super) shared: Arc<SubchannelState>,
    pub(super) options: Arc<Options>,
    pub(super) slots: Vec<Slot>,
    pub(super) dials: FuturesUnordered<Dialing>,
    lives: Vec<Live>,
    pub(super) mode: Mode,
    /// The pass over all addresses; none when each waits for its own backoff.
    pub(super) pass: Option<Pass>,
    /// TRANSIENT_FAILURE holds until there is a connection.
    pub(super) sticky: bool,
    /// Failures since a new resolution was last worth it.
    pub(super) failed: usize,
    /// Set when the state is worth publishing though it is the same.
    pub(super) again: bool,
    /// Connections in a row that were lost as soon as they were made.
    flaps: u32,
    /// Another connection beside the ones that are full.
    extra: Option<DialGuard>,
    extra_failures: Failures,
    /// Whether one is wanted, and when it may be tried.
    more_at: Option<Instant>,
    extra_until: Instant,
    idle_at: Option<Instant>,
}

impl Task {
    pub(super) fn new(
        name: Arc<str>,
        addresses: Vec<ServerAddress>,
        options: Arc<Options>,
        shared: Arc<SubchannelState>,
    ) -> Self {
        Self {
            name,
            shared,
            options,
            slots: interleave(addresses).into_iter().map(Slot::new).collect(),
            dials: FuturesUnordered::new(),
            lives: Vec::new(),
            mode: Mode::Idle,
            pass: None,
            sticky: false,
            failed: 0,
            again: false,
            flaps: 0,
            extra: None,
            extra_failures: Failures::default(),
            more_at: None,
            extra_until: Instant::now(),
            idle_at: None,
        }
    }

    /// Runs until the last handle is dropped. All that was begun is dropped with it.
    ///
    /// A connector or observer that panics ends it too, since it would again; calls don't wait for such a server.
    pub(super) async fn run(mut self, closed: CancellationToken) {
        let serve = AssertUnwindSafe(self.serve()).catch_unwind();
        let panicked = tokio::select! {
            biased;
            () = closed.cancelled() => false,
            served = serve => served.is_err(),
        };
        let (connectivity, error) = if panicked {
            let reason =
                |slot: &Slot| (slot.address.address.clone(), "its connector or an observer panicked".to_owned());
            let error = ConnectError::new(self.slots.iter().map(reason).collect());
            (Connectivity::TransientFailure, Some(Arc::new(error)))
        } else {
            (Connectivity::Shutdown, None)
        };
        self.shared.publish(Usable::default());
        let generation = self.shared.state.borrow().generation + 1;
        self.shared.state.send_replace(State { connectivity, error, generation });
    }

    async fn serve(&mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            let timer = self.next_timer();
            tokio::select! {
                () = shared.wake.notified() => self.requests(),
                Some(dialed) = self.dials.next(), if !self.dials.is_empty() => {
                    if let Some(dialed) = dialed {
                        self.dialed(dialed);
                    }
                }
                (index, news) = poll_fn(|cx| poll_lives(&mut self.lives, cx)) => self.news(index, news),
                () = wait_until(timer) => self.timers(Instant::now()),
            }
            self.publish();
        }
    }

    fn requests(&mut self) {
        let (requests, addresses) = self.shared.take_requests();
        if let Some(addresses) = addresses {
            self.update(addresses);
        }
        if requests & CONNECT != 0 && self.mode == Mode::Idle {
            self.begin();
        }
        if requests & MORE != 0 && self.more_at.is_none() && self.extra.is_none() {
            self.more_at = Some(self.extra_until);
        }
        self.more(Instant::now());
    }

    fn update(&mut self, addresses: Vec<ServerAddress>) {
        let addresses = interleave(addresses);
        // The same list begins no new pass: a resolver whose answers change all the time would keep the next address from
        // its turn.
        if self.slots.iter().map(|slot| &slot.address).eq(&addresses) {
            return;
        }
        let mut old = std::mem::take(&mut self.slots);
        for address in addresses {
            let index = old.iter().position(|slot| slot.address == address);
            self.slots.push(index.map_or_else(|| Slot::new(address), |index| old.swap_remove(index)));
        }
        // The tries of the others end here.
        drop(old);
        let slots = &self.slots;
        self.lives.retain(|live| slots.iter().any(|slot| slot.address == live.address));
        match self.mode {
            Mode::Idle => {}
            Mode::Trying => self.begin(),
            Mode::Up if self.lives.is_empty() => {
                self.extra = None;
                self.begin();
            }
            Mode::Up => {}
        }
    }

    fn dialed(&mut self, dialed: Dialed) {
        let Dialed { address, extra, result } = dialed;
        if extra {
            self.extra = None;
            match result {
                // Its address may be gone since.
                Ok(_) if self.slots.iter().all(|slot| slot.address != address) => {}
                Ok((connection, driver)) => {
                    self.extra_failures.reset();
                    self.up(connection, driver, address);
                }
                Err(_) => {
                    let delay = self.extra_failures.next(&self.options.backoff, &self.options.random);
                    self.extra_until = Instant::now() + delay;
                    // Who waits in the queue does not ask again.
                    self.more_at = Some(self.extra_until);
                }
            }
            return;
        }
        let Some(index) = self.slots.iter().position(|slot| slot.address == address) else { return };
        match result {
            Ok((connection, driver)) => {
                for slot in &mut self.slots {
                    // Gives up the others.
                    if let At::Dialing(_) = slot.at {
                        slot.at = At::Idle;
                    }
                }
                self.slots[index].failures.reset();
                self.slots[index].reason = None;
                self.pass = None;
                self.sticky = false;
                self.failed = 0;
                self.mode = Mode::Up;
                self.up(connection, driver, address);
            }
            Err(reason) => self.failed(index, reason),
        }
    }

    /// A connection whose peer sent its SETTINGS.
    fn up(&mut self, connection: Connection, driver: Driver, address: ServerAddress) {
        let shared = Arc::downgrade(&self.shared);
        // By itself, because streams may outlive this task; it ends with the last of them.
        tokio::spawn(async move {
            let closed = driver.await;
            if let Some(shared) = shared.upgrade() {
                shared.ended(&closed);
            }
        });
        if self.lives.is_empty() {
            self.shared.connection_id.fetch_add(1, Ordering::Release);
        }
        self.lives.push(Live::new(connection, address, &self.options));
        self.idle_at = self.options.idle_timeout.map(|timeout| Instant::now() + timeout);
    }

    fn news(&mut self, index: usize, news: News) {
        match news {
            News::Health(health) => self.lives[index].health = health,
            News::Going => {
                let lost = self.lives.remove(index);
                if !self.lives.is_empty() {
                    return;
                }
                self.extra = None;
                self.lost(&lost);
            }
        }
    }

    /// The last connection is gone: a new one is made at once. A server that takes connections and drops them time and
    /// again gets them with backoff.
    fn lost(&mut self, lost: &Live) {
        let now = Instant::now();
        self.flaps = if now - lost.since < self.options.backoff.initial { self.flaps.saturating_add(1) } else { 0 };
        if self.flaps > 1 {
            let delay = self.options.backoff.wait(self.flaps - 1, &self.options.random);
            if let Some(slot) = self.slots.iter_mut().find(|slot| slot.address == lost.address) {
                slot.at = At::Waiting(lost.since + delay);
                slot.reason =
                    Some("the server closed the connection soon after it was made, more than once".to_owned());
            }
        }
        self.begin();
    }

    /// Makes another connection if all are full, and there may be one (gRFC A105).
    fn more(&mut self, now: Instant) {
        if self.more_at.is_none_or(|at| at > now) {
            return;
        }
        self.more_at = None;
        let full = |live: &Live| live.connection.active_streams() >= live.connection.max_streams();
        let usable = self.lives.iter().filter(|live| live.connection.is_live());
        // While calls wait, a place that is free is about to be taken.
        let wanted = !self.options.queue.is_empty() || usable.clone().all(full);
        // One that waits for its health will soon have room.
        if self.extra.is_some() || self.lives.len() >= self.options.max_connections.clamp(1, 10) || !wanted {
            return;
        }
        let Some(address) = usable.map(|live| live.address.clone()).next() else { return };
        let (guard, dialing) = dial(address, true, &self.options, self.http2());
        self.dials.push(dialing);
        self.extra = Some(guard);
    }

    /// The settings of the next connection.
    pub(super) fn http2(&self) -> Http2Options {
        let mut http2 = self.options.http2.clone();
        let factor = 1_u32.checked_shl(self.shared.calmed.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        http2.keep_alive_interval = http2.keep_alive_interval.map(|interval| interval.saturating_mul(factor));
        http2
    }

    fn next_timer(&self) -> Option<Instant> {
        let retries = self.slots.iter().filter_map(|slot| match slot.at {
            At::Waiting(until) if self.mode == Mode::Trying && self.pass.is_none() => Some(until),
            _ => None,
        });
        let pass = self.pass.as_ref().and_then(|pass| pass.timer);
        retries.chain(pass).chain(self.more_at).chain(self.idle_at).min()
    }

    fn timers(&mut self, now: Instant) {
        self.tick_pass(now);
        self.more(now);
        if let Some(timeout) = self.options.idle_timeout
            && self.idle_at.is_some_and(|at| at <= now)
        {
            let used = self.shared.used.swap(false, Ordering::Relaxed);
            if self.mode != Mode::Up {
                self.idle_at = None;
            } else if used || self.lives.iter().any(|live| live.active_streams() > 0) {
                self.idle_at = Some(now + timeout);
            } else {
                self.idle_at = None;
                self.extra = None;
                self.lives.clear();
                self.mode = Mode::Idle;
            }
        }
    }

    /// Publishes what changed.
    fn publish(&mut self) {
        let ready = self.lives.iter().filter(|live| live.health == Health::Serving);
        let usable =
            Usable { connections: ready.map(|live| live.connection.clone()).collect(), idle: self.mode == Mode::Idle };
        let (connectivity, error) = self.compute(!usable.connections.is_empty());
        let before = self.shared.usable.load();
        let same = before.idle == usable.idle
            && before.connections.len() == usable.connections.len()
            && before.connections.iter().zip(&usable.connections).all(|(one, other)| one.same(other));
        drop(before);
        if !same {
            self.shared.publish(usable);
        }
        let again = std::mem::take(&mut self.again);
        let changed = self.shared.state.send_if_modified(|state| {
            if !again && state.connectivity == connectivity && state.error.as_deref() == error.as_ref() {
                return false;
            }
            *state = State { connectivity, error: error.map(Arc::new), generation: state.generation + 1 };
            true
        });
        if changed {
            let state = self.shared.state.borrow().clone();
            let error = state.error.map(|error| error.to_string());
            let event = Event::EndpointChanged { endpoint: &self.name, state: connectivity, error: error.as_deref() };
            self.options.observers.event(&event);
        }
    }

    fn compute(&self, usable: bool) -> (Connectivity, Option<ConnectError>) {
        match self.mode {
            Mode::Idle => (Connectivity::Idle, None),
            Mode::Trying if self.sticky => {
                let failed =
                    self.slots.iter().filter_map(|slot| Some((slot.address.address.clone(), slot.reason.clone()?)));
                (Connectivity::TransientFailure, Some(ConnectError::new(failed.collect())))
            }
            Mode::Trying => (Connectivity::Connecting, None),
            Mode::Up if usable => (Connectivity::Ready, None),
            Mode::Up if self.lives.iter().any(|live| live.health == Health::Pending) => {
                (Connectivity::Connecting, None)
            }
            Mode::Up => {
                let failing = self.lives.iter().filter_map(|live| match &live.health {
                    Health::Failing(reason) => Some((live.address.address.clone(), reason.clone())),
                    _ => None,
                });
                (Connectivity::TransientFailure, Some(ConnectError::new(failing.collect())))
            }
        }
    }
}

fn poll_lives(lives: &mut [Live], cx: &mut Context<'_>) -> Poll<(usize, News)> {
    for (index, live) in lives.iter_mut().enumerate() {
        if let Poll::Ready(news) = live.poll(cx) {
            return Poll::Ready((index, news));
        }
    }
    Poll::Pending
}

async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
