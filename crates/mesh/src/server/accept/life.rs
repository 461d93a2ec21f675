//! How long a connection lives: its age, its idleness, its end.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::calls::OpenCalls;
use super::ends::Ends;
use super::options::ConnectionOptions;

/// How long a client without calls may take to answer the first GOAWAY, which asks it for a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// How long calls that were ended at the end of the grace have, to tell their callers.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long calls may go on that begin just when their connection gives way to another.
const GIVES_WAY_WITHIN: Duration = Duration::from_secs(30);

/// What is next in a connection's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// GOAWAY: calls go on, and no more begin.
    GoAway,
    /// The end, calls or not.
    Cut,
}

/// The life of one connection.
pub(super) struct Life {
    calls: Arc<OpenCalls>,
    ends: Ends,
    /// Ends the calls of this connection with a status.
    ending: CancellationToken,
    /// Cancelled when its place is another's.
    gives_way: CancellationToken,
    idle: Option<Duration>,
    age_grace: Option<Duration>,
    slow_reader: Duration,
    phase: Phase,
    /// To the end of the phase. `None`: without end.
    age: Option<Pin<Box<Sleep>>>,
    /// The next look at whether the connection is idle.
    idle_check: Option<Pin<Box<Sleep>>>,
}

#[derive(Clone, Copy)]
enum Phase {
    Open,
    /// GOAWAY was sent then.
    Leaving(Instant),
    /// The grace is over as well.
    Ending(Instant),
}

impl Life {
    /// `ending` ends the calls of the connection; it goes, in order, at `gives_way`.
    pub(super) fn begin(
        options: &ConnectionOptions,
        calls: Arc<OpenCalls>,
        ends: Ends,
        ending: CancellationToken,
        gives_way: CancellationToken,
    ) -> Self {
        // gRFC A9: the age is spread, so that connections that began together don't end together.
        let age = options.age.map(|age| age.mul_f64(options.random.between(0.9, 1.1)));
        Self {
            calls,
            ends,
            ending,
            gives_way,
            idle: options.idle,
            age_grace: options.age_grace,
            slow_reader: options.slow_reader,
            phase: Phase::Open,
            age: age.map(|age| Box::pin(sleep(age))),
            idle_check: options.idle.map(|idle| Box::pin(sleep(idle))),
        }
    }

    /// Waits for what is next.
    pub(super) async fn next(mut self) -> (Self, Turn) {
        loop {
            let is_open = matches!(self.phase, Phase::Open);
            let turn = tokio::select! {
                () = self.ends.cut.cancelled() => Some(Turn::Cut),
                // The grace of the drain is counted by who ends the calls.
                () = self.ends.goaway.cancelled(), if is_open => Some(self.go_away(None)),
                () = self.gives_way.cancelled(), if is_open => {
                    // It had no call, and what it has not read by now it doesn't read.
                    self.slow_reader = self.slow_reader.min(SIGN_OF_LIFE);
                    Some(self.go_away(Some(GIVES_WAY_WITHIN)))
                }
                () = due(&mut self.age) => self.end_phase(),
                () = due(&mut self.idle_check) => self.check_idle(),
            };
            if let Some(turn) = turn {
                return (self, turn);
            }
        }
    }

    /// The phase is over.
    fn end_phase(&mut self) -> Option<Turn> {
        match self.phase {
            Phase::Open => Some(self.go_away(self.age_grace)),
            Phase::Leaving(since) => {
                self.ending.cancel();
                self.phase = Phase::Ending(since);
                self.age = Some(Box::pin(sleep(LAST_WORDS)));
                None
            }
            Phase::Ending(_) => Some(Turn::Cut),
        }
    }

    /// Whether there was no call for too long; else when to look again.
    fn check_idle(&mut self) -> Option<Turn> {
        let (now, idle_since) = (Instant::now(), self.calls.idle_since());
        let (from, bound, left) = match (self.phase, idle_since) {
            // There is no look without an idle time.
            (Phase::Open, since) => (since, self.idle?, None),
            // The last answer was written, and may still be on its way to a slow reader; the sign of life comes after
            // it.
            (Phase::Leaving(left) | Phase::Ending(left), Some(since)) => (Some(since), self.slow_reader, Some(left)),
            (Phase::Leaving(_) | Phase::Ending(_), None) => (None, SIGN_OF_LIFE, None),
        };
        let over = (from.unwrap_or(now) + bound).max(left.map_or(now, |left| left + SIGN_OF_LIFE));
        if from.is_none() || over > now {
            self.idle_check = Some(Box::pin(sleep_until(over)));
            return None;
        }
        Some(match self.phase {
            Phase::Open => self.go_away(self.age_grace),
            Phase::Leaving(_) | Phase::Ending(_) => Turn::Cut,
        })
    }

    fn go_away(&mut self, grace: Option<Duration>) -> Turn {
        self.phase = Phase::Leaving(Instant::now());
        self.age = grace.map(|grace| Box::pin(sleep(grace)));
        self.idle_check = Some(Box::pin(sleep(SIGN_OF_LIFE)));
        Turn::GoAway
    }
}

async fn due(sleep: &mut Option<Pin<Box<Sleep>>>) {
    match sleep {
        Some(sleep) => sleep.as_mut().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::random::Random;
    use crate::transport::ServeOptions;

    const SLOW: Duration = Duration::from_secs(30);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn options(age: Option<Duration>, age_grace: Option<Duration>, idle: Option<Duration>) -> ConnectionOptions {
        let serve = ServeOptions {
            max_concurrent_streams: 8,
            max_header_list_size: 8 << 10,
            stream_window: 64 << 10,
            connection_window: 64 << 10,
            max_frame_size: 16 << 10,
            send_buffer: 64 << 10,
            unwritten: 256 << 10,
            keep_alive: None,
            linger: seconds(1),
        };
        let random = Random::seeded(7);
        let (handshake, kernel_send_buffer) = (seconds(10), None);
        ConnectionOptions { serve, age, age_grace, idle, handshake, random, slow_reader: SLOW, kernel_send_buffer }
    }

    /// Timers have milliseconds.
    fn is_about(found: Duration, expected: Duration) -> bool {
        found.abs_diff(expected) <= Duration::from_millis(2)
    }

    struct Watched {
        life: Life,
        calls: Arc<OpenCalls>,
        ends: Ends,
        ending: CancellationToken,
        gives_way: CancellationToken,
    }

    fn begin(options: &ConnectionOptions) -> Watched {
        let (calls, ends) = (OpenCalls::new(), Ends::default());
        let ending = ends.ending.child_token();
        let gives_way = CancellationToken::new();
        let life = Life::begin(options, Arc::clone(&calls), ends.clone(), ending.clone(), gives_way.clone());
        Watched { life, calls, ends, ending, gives_way }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_end_with_a_status_at_the_end_of_the_grace_and_before_the_connection() {
        let watched = begin(&options(Some(seconds(100)), Some(seconds(20)), None));
        let _call = watched.calls.begin();
        let began = Instant::now();
        let (life, turn) = watched.life.next().await;
        assert_eq!(turn, Turn::GoAway);
        assert!((seconds(89)..=seconds(111)).contains(&began.elapsed()), "{:?}", began.elapsed());
        let left = Instant::now();
        let next = tokio::spawn(life.next());
        watched.ending.cancelled().await;
        assert!(is_about(left.elapsed(), seconds(20)), "{:?}", left.elapsed());
        assert_eq!(next.await.unwrap().1, Turn::Cut);
        assert!(is_about(left.elapsed(), seconds(21)), "{:?}", left.elapsed());
        assert!(!watched.ends.ending.is_cancelled(), "it ended the calls of others");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_once_its_last_call_is_over() {
        let watched = begin(&options(None, None, Some(seconds(30))));
        let (call, began) = (watched.calls.begin(), Instant::now());
        let next = tokio::spawn(watched.life.next());
        tokio::time::sleep(seconds(100)).await;
        drop(call);
        assert_eq!(next.await.unwrap().1, Turn::GoAway);
        assert!(is_about(began.elapsed(), seconds(130)), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn s7_who_still_reads_after_goaway_has_the_time_of_a_slow_reader() {
        let watched = begin(&options(None, None, None));
        let call = watched.calls.begin();
        watched.ends.goaway.cancel();
        let (life, turn) = watched.life.next().await;
        assert_eq!(turn, Turn::GoAway);
        let next = tokio::spawn(life.next());
        tokio::time::sleep(seconds(600)).await;
        assert!(!next.is_finished(), "a call that goes on was cut");
        drop(call);
        let written = Instant::now();
        assert_eq!(next.await.unwrap().1, Turn::Cut);
        let bounds = SLOW.mul_f64(0.99)..=SLOW + SIGN_OF_LIFE.mul_f64(1.01);
        assert!(bounds.contains(&written.elapsed()), "{:?}", written.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_nothing_to_read_and_gives_no_sign_of_life_is_cut_soon() {
        let watched = begin(&options(None, None, None));
        advance(SLOW).await;
        watched.ends.goaway.cancel();
        let (life, left) = (watched.life.next().await.0, Instant::now());
        assert_eq!(life.next().await.1, Turn::Cut);
        assert!(is_about(left.elapsed(), SIGN_OF_LIFE), "{:?}", left.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_way_goes_in_order_and_soon_and_a_call_that_begins_then_has_some_time() {
        let watched = begin(&options(None, None, None));
        watched.gives_way.cancel();
        let (life, left) = (watched.life.next().await.0, Instant::now());
        assert_eq!(life.next().await.1, Turn::Cut);
        assert!(is_about(left.elapsed(), SIGN_OF_LIFE), "{:?}", left.elapsed());

        let watched = begin(&options(None, None, None));
        watched.gives_way.cancel();
        let (life, left) = (watched.life.next().await.0, Instant::now());
        let _call = watched.calls.begin();
        let next = tokio::spawn(life.next());
        watched.ending.cancelled().await;
        assert!(is_about(left.elapsed(), GIVES_WAY_WITHIN), "{:?}", left.elapsed());
        assert_eq!(next.await.unwrap().1, Turn::Cut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_waits_for_nothing() {
        let watched = begin(&options(None, None, None));
        let _call = watched.calls.begin();
        watched.ends.cut.cancel();
        assert_eq!(watched.life.next().await.1, Turn::Cut);
    }
}
